"""Attention of the slots engine for models whose own is not HuggingFace's exchangeable one.

GPT-Neo (Black et al. 2021) and Falcon (Almazrouei et al. 2023, arXiv 2311.16867) compute queries,
keys and values and attend in one module. Its ``forward`` is replaced while the engine runs: the
module's own layers project, and the slots' attention does what is between them.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import sliding_window_causal_mask_function
from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb, build_alibi_tensor

# `attention._attend` and `attention._mask`.
Attend = Callable[..., tuple[Tensor, None]]
Mask = Callable[..., Any]


def is_foreign(model: nn.Module) -> bool:
    """Whether this module knows how to replace a model's attention."""
    return any(type(module).__name__ in _FORWARDS for module in model.modules())


@contextmanager
def replaced(model: Any, attend: Attend, mask: Mask) -> Iterator[None]:
    """Run a model whose attention `is_foreign` with another while the context is open.

    Args:
        model: The model.
        attend: HuggingFace's attention function; also takes ``key_bias``.
        mask: HuggingFace's mask function.
    """
    modules = [module for module in model.modules() if type(module).__name__ in _FORWARDS]
    # Falcon would build ALiBi for keys that it takes to begin here; the replacement adds it.
    with_alibi = [module for module in model.modules() if getattr(module, "use_alibi", False)]
    for module in modules:
        forward = partial(_FORWARDS[type(module).__name__], module, attend, mask)
        module.forward = forward
    for module in with_alibi:
        module.use_alibi = False
    try:
        yield
    finally:
        for module in modules:
            del module.forward
        for module in with_alibi:
            module.use_alibi = True


def _gpt_neo(
    module: Any,
    attend: Attend,
    mask: Mask,
    hidden_states: Tensor,
    attention_mask: Any = None,
    layer_past: Any = None,
    **_others: Any,
) -> tuple[Tensor, None]:
    """``GPTNeoSelfAttention.forward``: scores are not scaled, and every other layer is local."""

    def heads(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (module.num_heads, module.head_dim)).transpose(1, 2)

    query, key, value = (
        heads(layer(hidden_states)) for layer in (module.q_proj, module.k_proj, module.v_proj)
    )
    key, value = layer_past.update(key, value, module.layer_id)
    if module.attention_type == "local":
        window = sliding_window_causal_mask_function(module.config.window_size)
        attention_mask = mask(mask_function=window)
    # Scores without a scale leave float16's range; by a power of two nothing is rounded.
    mixed, _ = attend(module, query / 8, key, value, attention_mask, scaling=8.0)
    return module.out_proj(mixed.flatten(2)), None


def _falcon(
    module: Any,
    attend: Attend,
    _mask: Mask,
    hidden_states: Tensor,
    alibi: None,
    attention_mask: Any,
    layer_past: Any = None,
    position_embeddings: Any = None,
    **_others: Any,
) -> tuple[Tensor, None]:
    """``FalconAttention.forward``: one key head, some, or as many as query heads; rotary or ALiBi.

    HuggingFace's repeats the key heads of 40B before it caches them; here they are kept once.
    """
    assert alibi is None
    fused = module.query_key_value(hidden_states)
    kv_heads = (fused.shape[-1] // module.head_dim - module.num_heads) // 2
    group = module.num_heads // kv_heads
    fused = fused.unflatten(-1, (kv_heads, group + 2, module.head_dim))
    query = fused[..., :-2, :].flatten(2, 3).transpose(1, 2)  # [rows, heads, new, head]
    key, value = fused[..., -2, :].transpose(1, 2), fused[..., -1, :].transpose(1, 2)
    if not module.config.alibi:
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
    key, value = layer_past.update(key, value, module.layer_idx)
    bias = None
    if module.config.alibi:
        bias = _alibi(module.num_heads, _length(key), hidden_states) / math.sqrt(module.head_dim)
    mixed, _ = attend(module, query, key, value, attention_mask, key_bias=bias)
    return module.dense(mixed.flatten(2)), None


def _alibi(heads: int, length: int, like: Tensor) -> Tensor:
    """``[heads, length]`` added to scores before they are scaled, rounded as HuggingFace's."""
    ones = torch.ones(1, length, dtype=torch.long, device=like.device)
    return build_alibi_tensor(ones, heads, like.dtype)[:, 0]


def _length(key: Any) -> int:
    """Positions of a prefill's keys, or of a decode step's shared and own ones together."""
    if isinstance(key, Tensor):
        return key.shape[2]
    shared = 0 if key.shared is None else key.shared.shape[2]
    return int(shared + key.own.shape[0] * key.own.shape[3])


_FORWARDS: dict[str, Callable[..., tuple[Tensor, None]]] = {
    "GPTNeoSelfAttention": _gpt_neo,
    "FalconAttention": _falcon,
}
