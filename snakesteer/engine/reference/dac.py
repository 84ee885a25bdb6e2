"""The reference decode loop for dynamic strength: three streams over one history, with KV caches.

At every step the unsteered stream and the probe stream (steered at α₀ from the last prompt token
on) read the latest token; their next-token distributions give α_t; the real stream then reads the
same token with α_t at this position, and its logits choose the next token, which all three read
next. Earlier positions keep the α they had. What is steered, the residual stream or the attention
heads, is all the same to the loop.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from snakesteer.engine.batching import alike, left_pad, position_ids
from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.engine.reference.heads import add_at_last, heads_steered_at
from snakesteer.engine.sampling import choose, uniforms
from snakesteer.engine.stopping import StopRule
from snakesteer.engine.watch import Watch, watched
from snakesteer.errors import UserError
from snakesteer.models.arguments import cache_argument, takes
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.heads import find_heads
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.dac import Dac, dynamic_alpha
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.residual import ResidualSteering, stacked_places

# Step and strength of each row in; a context out, in which last positions are steered so.
SteeredAt = Callable[[int, Tensor], AbstractContextManager[None]]


@torch.inference_mode()
def generate_dac(
    loaded: LoadedModel,
    requests: Sequence[Request],
    decoding: Decoding,
    rule: StopRule,
    watch: Watch | None = None,
) -> list[Generation]:
    """Generate texts whose strength is dynamic.

    The real stream reads its prompt in one pass, as HuggingFace's ``generate`` does: where nothing
    is added, its logits are those of unsteered answers, bit for bit.

    Args:
        loaded: The model.
        requests: A batch; every request is steered with `Dac`. Rows whose heads are steered are
            steered alike.
        decoding: How tokens are chosen.
        rule: When a row ends.
        watch: Who looks on, if anyone.

    Returns:
        One generation per request, in their order.
    """
    device = loaded.device
    ids, mask = left_pad(loaded, [request.prompt_ids for request in requests])
    dacs = [_dac_of(request) for request in requests]
    steered_at = _steered_at(loaded, requests)
    strength = torch.tensor([r.steering.alpha for r in requests if r.steering is not None])
    probe_alpha = torch.tensor([dac.probe_alpha for dac in dacs])
    ptop = torch.tensor([dac.ptop for dac in dacs], device=device)
    max_alpha = torch.tensor([dac.max_alpha for dac in dacs], device=device)
    threshold = torch.tensor([dac.entropy_threshold for dac in dacs], device=device)
    per_token = torch.tensor([dac.kl == "per_token" for dac in dacs], device=device)
    steps = max(request.max_new_tokens for request in requests)
    streams = torch.stack([uniforms(request.seed, steps) for request in requests])

    with watched(watch, nullcontext(), "unsteered"):
        unsteered_cache = _prefill(loaded, ids[:, :-1], mask[:, :-1], watch)
    probe_cache = copy.deepcopy(unsteered_cache)
    real_cache = DynamicCache(config=loaded.model.config)
    latest, real_latest = ids[:, -1:], ids
    rows: list[list[int]] = [[] for _ in requests]
    alphas: list[list[float]] = [[] for _ in requests]  # α_t of each token
    done: list[Generation | None] = [None] * len(requests)
    for step in range(steps):
        with watched(watch, nullcontext(), "unsteered"):
            unsteered = _forward(loaded, latest, mask, unsteered_cache)
            _tell(watch, latest, mask, unsteered)
        with watched(watch, steered_at(step, probe_alpha), "probe"):
            probe = _forward(loaded, latest, mask, probe_cache)
            _tell(watch, latest, mask, probe)
        alpha = dynamic_alpha(unsteered, probe, ptop, max_alpha, threshold, per_token).cpu()
        with watched(watch, steered_at(step, strength * alpha), "real"):
            logits = _forward(loaded, real_latest, mask, real_cache)
            _tell(watch, real_latest, mask, logits)
        latest = real_latest = choose(logits, decoding, streams[:, step])[:, None]
        mask = torch.cat([mask, torch.ones_like(latest)], dim=1)
        for row, token_id in enumerate(latest[:, 0].tolist()):
            if done[row] is None:
                rows[row].append(token_id)
                alphas[row].append(float(alpha[row]))
                finish = rule.finish(rows[row], requests[row].max_new_tokens)
                if finish is not None:
                    done[row] = rule.generation(rows[row], finish, alphas[row])
        if all(done):
            break
    return [generation for generation in done if generation is not None]


def _dac_of(request: Request) -> Dac:
    if request.steering is None or request.steering.dac is None:
        raise ValueError("every request of a DAC batch must be steered with DAC")
    return request.steering.dac


def _prefill(loaded: LoadedModel, ids: Tensor, mask: Tensor, watch: Watch | None) -> DynamicCache:
    """The cache of the prompt up to its last token, which no stream steers."""
    cache = DynamicCache(config=loaded.model.config)
    if ids.shape[1] > 0:
        _forward(loaded, ids, mask, cache)
        _tell(watch, ids, mask, None)
    return cache


def _tell(watch: Watch | None, ids: Tensor, mask: Tensor, logits: Tensor | None) -> None:
    """Tell who looks on of a pass of `_forward`."""
    if watch is not None:
        n = ids.shape[1]
        watch.passed(n, mask.shape[1] - n, logits)


def _forward(loaded: LoadedModel, ids: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
    """Last-position logits ``[batch, vocab]`` of new tokens behind a cache, which it extends.

    Args:
        loaded: The model.
        ids: ``[batch, new]``.
        mask: ``[batch, cached + new]``; 0 on left padding.
        cache: Keys and values of the earlier positions.

    Raises:
        UserError: The model leaves the cache as it is.
    """
    arguments: dict[str, Any] = {cache_argument(loaded.model): cache}
    arguments |= position_ids(loaded, mask, ids.shape[1])
    if takes(loaded.model, "logits_to_keep"):
        arguments["logits_to_keep"] = 1
    output = loaded.model(input_ids=ids, attention_mask=mask, use_cache=True, **arguments)
    if cache.get_seq_length() != mask.shape[1]:
        raise UserError(
            f"{type(loaded.model).__name__} does not extend the KV cache it is given",
            "Use a model with a KV cache.",
        )
    return output.logits[:, -1]


def _steered_at(loaded: LoadedModel, requests: Sequence[Request]) -> SteeredAt:
    """How the rows of a batch are steered."""
    of_heads = alike([request.steering for request in requests])
    if isinstance(of_heads, HeadSteering):
        heads = find_heads(loaded.model)
        return lambda step, factor: heads_steered_at(heads, of_heads, step, factor)
    steerings = [r.steering for r in requests if isinstance(r.steering, ResidualSteering)]
    layers, vectors, relative = stacked_places(steerings)
    at = sorted({place.layer for steering in steerings for place in steering.places})

    def adder(layer: int, factor: Tensor) -> Callable[[Tensor], Tensor]:
        delta = (factor[:, None] * relative)[:, :, None] * vectors  # [batch, places, hidden]
        here = torch.where((layers == layer)[:, :, None], delta, 0.0).sum(dim=1)  # [batch, hidden]
        return lambda hidden: add_at_last(hidden, here)

    def steered_at(_step: int, factor: Tensor) -> AbstractContextManager[None]:
        adders = {layer: adder(layer, factor) for layer in at}
        return on_block_outputs(loaded.blocks, adders)

    return steered_at
