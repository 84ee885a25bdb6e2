"""Mixtures of experts in the slots engine: a row's result does not depend on its neighbours.

HuggingFace gathers the rows of each expert, so that an expert's product has as many rows as chose
it, and the last bits of a row depend on the others. Here every expert computes every row, with
weight 0 where the router did not choose it: products of one shape, E/k times as many for k of E
experts. Decoding reads every expert's weights for a few dozen rows in any case, and on a GPU that
is what takes the time. The router is the model's own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from snakesteer.models.blocks import of_layers

EVERY_EXPERT = "snakesteer_every_expert"
MAX_FACTOR = 16  # products for each one that is needed

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_NUMBERS = 2**26  # of the widest intermediate result; experts beyond it take turns


def experts_refusal(model: Any) -> str | None:
    """Why the experts of a model cannot be computed so; None if they can, or it has none."""
    config, experts = model.config.get_text_config(), _experts(model)
    if not experts:
        return None
    if not model._can_set_experts_implementation():
        return "its experts see all rows at once, so that rows change each other"
    chosen = min(of_layers(config, "num_experts_per_tok") or of_layers(config, "moe_topk") or {1})
    if experts > MAX_FACTOR * chosen:
        return f"each token uses {chosen} of its {experts} experts, and all would be computed"
    return None


def is_mixture(model: Any) -> bool:
    """Whether a model's tokens go to experts that a router chooses."""
    return _experts(model) > 0


def _experts(model: Any) -> int:
    config = model.config.get_text_config()
    return max((number for name in _EXPERTS for number in of_layers(config, name)), default=0)


def has_experts(model: nn.Module) -> bool:
    """Whether a model has experts that `every_expert` may compute."""
    return any(hasattr(module, "gate_up_proj") for module in model.modules())


def every_expert(module: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """HuggingFace's experts function.

    Args:
        module: Experts with ``gate_up_proj`` ``[experts, 2 · inner, hidden]`` and ``down_proj``
            ``[experts, hidden, inner]``; both transposed where it says so, and with biases.
        hidden: ``[tokens, hidden]``.
        chosen: ``[tokens, k]`` expert ids.
        weights: ``[tokens, k]``.

    Returns:
        ``[tokens, hidden]``.

    Raises:
        NotImplementedError: Experts of another layout.
    """
    if getattr(module, "has_post_expert_norm", False) or weights.shape != chosen.shape:
        raise NotImplementedError("its experts are not laid out in the usual way")
    into_all, out_all = module.gate_up_proj, module.down_proj
    if not getattr(module, "is_transposed", False):
        into_all, out_all = into_all.transpose(1, 2), out_all.transpose(1, 2)
    biased = getattr(module, "has_bias", False)
    experts, _, wide = into_all.shape
    shares = weights.new_zeros(len(hidden), experts).scatter_add(1, chosen, weights)
    shares = shares.t()[:, :, None]  # [experts, tokens, 1]
    total = torch.zeros_like(hidden, dtype=torch.float32)
    together = max(1, _NUMBERS // (wide * len(hidden)))
    for first in range(0, experts, together):
        some = slice(first, first + together)
        into, out = into_all[some], out_all[some]
        inner = torch.bmm(hidden.expand(len(into), -1, -1), into)
        if biased:
            inner = inner + module.gate_up_proj_bias[some][:, None]
        results = torch.bmm(module._apply_gate(inner), out)
        if biased:
            results = results + module.down_proj_bias[some][:, None]
        results = results.float()
        # An expert that was not chosen may leave the range of numbers: 0 · ∞ is not 0.
        results = torch.where(shares[some] == 0.0, 0.0, results * shares[some])
        for result in results:
            total += result
    return total.to(hidden.dtype)


ALL_EXPERTS_FUNCTIONS.register(EVERY_EXPERT, every_expert)
