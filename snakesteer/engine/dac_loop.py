"""The reference decode loop for DAC: three streams over one history, each with its KV cache.

At every step the unsteered stream and the probe stream (vector at α₀ from the last prompt token on)
read the latest token; their next-token distributions give α_t; the real stream then reads the same
token with α_t at this position, and its logits choose the next token, which all three read next.
Earlier positions keep the α they had. Prompt positions before the last are steered by none, so the
three caches start as copies of one.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from snakesteer.engine.batching import left_pad
from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.engine.sampling import choose, uniforms
from snakesteer.engine.stopping import StopRule
from snakesteer.errors import UserError
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.steering import Dac, dynamic_alpha


@torch.inference_mode()
def generate_dac(
    loaded: LoadedModel, requests: Sequence[Request], decoding: Decoding, rule: StopRule
) -> list[Generation]:
    """Generate texts under DAC.

    Args:
        loaded: The model.
        requests: A batch; every request is steered with `Dac`.
        decoding: How tokens are chosen.
        rule: When a row ends.

    Returns:
        One generation per request, in their order.
    """
    device = loaded.device
    ids, mask = left_pad(loaded, [request.prompt_ids for request in requests])
    steerings = [request.steering for request in requests]
    dacs = [_dac_of(request) for request in requests]
    layers = torch.tensor([s.layer for s in steerings if s is not None])
    vectors = torch.stack([s.vector.float().cpu() for s in steerings if s is not None])
    strength = torch.tensor([s.alpha for s in steerings if s is not None])
    probe_alpha = torch.tensor([dac.probe_alpha for dac in dacs])
    ptop = torch.tensor([dac.ptop for dac in dacs], device=device)
    max_alpha = torch.tensor([dac.max_alpha for dac in dacs], device=device)
    threshold = torch.tensor([dac.entropy_threshold for dac in dacs], device=device)
    steps = max(request.max_new_tokens for request in requests)
    streams = torch.stack([uniforms(request.seed, steps) for request in requests])

    unsteered_cache = _prefill(loaded, ids[:, :-1], mask[:, :-1])
    probe_cache, real_cache = copy.deepcopy(unsteered_cache), copy.deepcopy(unsteered_cache)
    token = ids[:, -1:]
    rows: list[list[int]] = [[] for _ in requests]
    done: list[Generation | None] = [None] * len(requests)
    for step in range(steps):
        unsteered = _forward(loaded, token, mask, unsteered_cache)
        probe_delta = probe_alpha[:, None] * vectors
        probe = _forward_steered(loaded, token, mask, probe_cache, layers, probe_delta)
        alpha = dynamic_alpha(unsteered, probe, ptop, max_alpha, threshold).cpu()
        delta = (strength * alpha)[:, None] * vectors
        logits = _forward_steered(loaded, token, mask, real_cache, layers, delta)
        token = choose(logits, decoding, streams[:, step])[:, None]
        mask = torch.cat([mask, torch.ones_like(token)], dim=1)
        for row, token_id in enumerate(token[:, 0].tolist()):
            if done[row] is None:
                rows[row].append(token_id)
                finish = rule.finish(rows[row], requests[row].max_new_tokens)
                if finish is not None:
                    done[row] = rule.generation(rows[row], finish)
        if all(done):
            break
    return [generation for generation in done if generation is not None]


def _dac_of(request: Request) -> Dac:
    if request.steering is None or request.steering.dac is None:
        raise ValueError("every request of a DAC batch must be steered with DAC")
    return request.steering.dac


def _prefill(loaded: LoadedModel, ids: Tensor, mask: Tensor) -> DynamicCache:
    """The cache of the prompt up to its last token, which no stream steers."""
    cache = DynamicCache(config=loaded.model.config)
    if ids.shape[1] > 0:
        _forward(loaded, ids, mask, cache)
    return cache


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
    arguments: dict[str, Any] = {}
    if "position_ids" in inspect.signature(loaded.model.forward).parameters:
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        arguments["position_ids"] = positions[:, -ids.shape[1] :]
    output = loaded.model(
        input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **arguments
    )
    if cache.get_seq_length() != mask.shape[1]:
        raise UserError(
            f"{type(loaded.model).__name__} does not extend the KV cache it is given",
            "Use a model with a KV cache.",
        )
    return output.logits[:, -1]


def _forward_steered(
    loaded: LoadedModel,
    ids: Tensor,
    mask: Tensor,
    cache: DynamicCache,
    layers: Tensor,
    delta: Tensor,
) -> Tensor:
    """`_forward` of one new token, with ``delta[row]`` added behind block ``layers[row]``."""

    def adder(layer: int) -> Any:
        here = torch.where((layers == layer)[:, None], delta, 0.0)  # [batch, hidden]

        def add(hidden: Tensor) -> Tensor:
            return hidden + here.to(hidden.device, hidden.dtype)[:, None, :]

        return add

    callbacks = {layer: adder(layer) for layer in sorted(set(layers.tolist()))}
    with on_block_outputs(loaded.blocks, callbacks):
        return _forward(loaded, ids, mask, cache)
