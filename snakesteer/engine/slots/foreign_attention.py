"""Attention of the slots engine for models whose own is not HuggingFace's exchangeable one.

GPT-Neo (Black et al. 2021), GPT-J (Wang and Komatsuzaki 2021), Falcon (Almazrouei et al. 2023,
arXiv 2311.16867), BLOOM (Le Scao et al. 2022, arXiv 2211.05100) and MPT (MosaicML 2023) compute
queries, keys and values and attend in one module. Its ``forward`` is replaced while the engine
runs: the module's own layers project, and the slots' attention does what is between them.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import sliding_window_causal_mask_function
from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb, build_alibi_tensor
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as rotate_pairs
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

# `attention._attend` and `attention._mask`.
Attend = Callable[..., tuple[Tensor, None]]
Mask = Callable[..., Any]


def is_foreign(model: Any) -> bool:
    """Whether this module knows how to replace a model's attention, and has to.

    GPT-J's is HuggingFace's exchangeable one since transformers 5.24.
    """
    known = any(type(module).__name__ in _FORWARDS for module in model.modules())
    return known and not model._can_set_attn_implementation()


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


def _gptj(
    module: Any,
    attend: Attend,
    _mask: Mask,
    hidden_states: Tensor,
    layer_past: Any = None,
    attention_mask: Any = None,
    position_ids: Any = None,
    **_others: Any,
) -> tuple[Tensor, None]:
    """``GPTJAttention.forward``: pairs of neighbours are rotated, in some of a head's numbers."""
    query, key, value = (
        projection(hidden_states).unflatten(-1, (module.num_attention_heads, module.head_dim))
        for projection in (module.q_proj, module.k_proj, module.v_proj)
    )
    # HuggingFace's gathers them from a copy of the whole table for each row.
    sin, cos = module.embed_positions[position_ids].to(key.dtype).chunk(2, dim=-1)
    width = module.rotary_dim

    def rotated(heads: Tensor) -> Tensor:
        turned = rotate_pairs(heads[..., :width], sin, cos)
        return torch.cat([turned, heads[..., width:]], dim=-1).transpose(1, 2)

    key, value = layer_past.update(rotated(key), value.transpose(1, 2), module.layer_idx)
    mixed, _ = attend(module, rotated(query), key, value, attention_mask)
    return module.out_proj(mixed.flatten(2)), None


def _bloom(
    module: Any,
    attend: Attend,
    _mask: Mask,
    hidden_states: Tensor,
    residual: Tensor,
    alibi: Any,
    attention_mask: Any,
    layer_past: Any = None,
    **_others: Any,
) -> tuple[Tensor, None]:
    """``BloomAttention.forward``: ALiBi, added to scaled scores; the residual stream is added."""
    query, key, value = module._reshape(module.query_key_value(hidden_states))
    key, value = layer_past.update(key, value, module.layer_idx)
    bias = _alibi(module.num_heads, _length(key), hidden_states)
    mixed, _ = attend(module, query, key, value, attention_mask, key_bias=bias)
    return residual + module.dense(mixed.flatten(2)), None


def _mpt(
    module: Any,
    attend: Attend,
    _mask: Mask,
    hidden_states: Tensor,
    position_bias: Any,
    past_key_values: Any = None,
    cache: Any = None,
    attention_mask: Any = None,
    **_others: Any,
) -> tuple[Tensor, None]:
    """``MptAttention.forward``: ALiBi with slopes of its own, in float32.

    transformers 5.24 has another name for its keys and values.
    """
    fused = module.Wqkv(hidden_states)
    if module.clip_qkv:
        fused = fused.clamp(min=-module.clip_qkv, max=module.clip_qkv)
    fused = fused.unflatten(-1, (3, module.n_heads, module.head_dim)).transpose(1, 3)
    query, key, value = fused.unbind(2)  # [rows, heads, new, head]
    cache = past_key_values if cache is None else cache
    key, value = cache.update(key, value, module.layer_idx)
    bias = build_mpt_alibi_tensor(module.n_heads, _length(key), device=hidden_states.device)[:, 0]
    scale = module.softmax_scale
    mixed, _ = attend(module, query, key, value, attention_mask, scaling=scale, key_bias=bias)
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
    "GPTJAttention": _gptj,
    "FalconAttention": _falcon,
    "BloomAttention": _bloom,
    "MptAttention": _mpt,
}
