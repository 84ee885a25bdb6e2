"""Attention for the slots engine, put into HuggingFace's own modules through their interface.

The modules project, rotate and scale as always; what is replaced is the kernel between them and
the mask. Masks come from HuggingFace's own mask functions (causal, sliding window, chunked), which
are asked for each slot's own position, so that a layer sees what its architecture lets it see.

Decoding follows Hydragen (Juravsky et al. 2024, arXiv 2402.05099): keys that all slots share (the
few-shot prefix) are multiplied once with the queries of all slots, and the softmax runs over shared
and own keys together. Own keys are worked through in blocks of a fixed size, so that a
block that is masked as a whole adds exact zeros: a row's bits do not depend on how many blocks its
neighbours need.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from snakesteer.engine.slots import experts, foreign_attention
from snakesteer.engine.slots.flex import add_block, add_prefix, mean_of, nothing_seen
from snakesteer.engine.slots.rotary import rotary_held

NAME = "snakesteer_slots"
# What computes the attention of a decode step to a slot's own keys: plain torch operations, or
# torch's flex_attention (`snakesteer.engine.slots.flex`).
Kernel = Literal["blocks", "flex"]
BLOCK = 64  # positions per block of a slot's keys and values

# Arguments of an attention function that change nothing here: the mask holds the window already.
_HARMLESS = {"dropout", "sliding_window", "position_ids", "use_cache", "is_causal"}
_HARMLESS |= {"output_attentions", "output_hidden_states", "return_dict", "cache_position"}


class Blocked(NamedTuple):
    """Keys, values or masks of a decode step.

    Attributes:
        shared: Keys ``[prefixes, kv_heads, shared, head]`` of shared prefixes, None without one;
            for a mask ``[1, slots, 1, shared]``, True where hidden.
        own: Keys ``[blocks, slots, kv_heads, BLOCK, head]``; for a mask
            ``[blocks, slots, 1, 1, BLOCK]``, True where hidden.
        prefix: ``[slots]`` which prefix a slot has; not for a mask.
    """

    shared: Tensor | None
    own: Tensor
    prefix: Tensor | None = None

    def to(self, _dtype: torch.dtype) -> "Blocked":
        """A mask is of truth values already (MPT asks for them)."""
        return self


class _Positions:
    """Where the queries and keys of the running forward pass are."""

    queries: Tensor  # [rows, new], absolute
    keys: Tensor  # [length], absolute
    shared: int | None  # decode: length of the shared prefix; None in a prefill
    kernel: Kernel = "blocks"  # of decode steps


_now = _Positions()


def set_positions(queries: Tensor, keys: Tensor, shared: int | None) -> None:
    """Say where the tokens of the next forward pass are.

    Args:
        queries: ``[rows, new]`` absolute positions of the new tokens.
        keys: ``[length]`` absolute positions of all keys, in the order of the cache.
        shared: In a decode step, how many of the keys are the shared prefix; None in a prefill.
    """
    _now.queries, _now.keys, _now.shared = queries, keys, shared


@contextmanager
def slot_attention(model: Any, kernel: Kernel = "blocks") -> Iterator[None]:
    """Run a model with this module's attention while the context is open.

    Args:
        model: The HuggingFace model.
        kernel: What computes a decode step's attention to own keys.

    Raises:
        NotImplementedError: The model's attention cannot be replaced.
    """
    pad = model.config.pad_token_id
    foreign = foreign_attention.is_foreign(model)
    if not foreign and not model._can_set_attn_implementation():
        raise NotImplementedError("its attention is not HuggingFace's exchangeable one")
    with ExitStack() as stack:
        # Some models search their input for padding, which would wait for the device at every step.
        # Some configs allow no None there, and check what is set.
        stack.callback(vars(model.config).update, pad_token_id=pad)
        vars(model.config)["pad_token_id"] = None
        before = model.config._attn_implementation
        if foreign:
            stack.enter_context(foreign_attention.replaced(model, _attend, _mask))
            stack.callback(setattr, model.config, "_attn_implementation", before)
            model.config._attn_implementation = NAME  # for its masks
        else:
            stack.callback(model.set_attn_implementation, before)
            model.set_attn_implementation(NAME)
        stack.callback(setattr, _now, "kernel", _now.kernel)
        _now.kernel = kernel
        if experts.has_experts(model):
            stack.callback(model.set_experts_implementation, model.config._experts_implementation)
            model.set_experts_implementation(experts.EVERY_EXPERT)
        stack.enter_context(rotary_held(model))
        yield


def _mask(*, mask_function: Callable[..., Tensor], **_others: Any) -> Tensor | Blocked:
    """The mask of one layer type, from HuggingFace's description of it.

    Returns:
        Prefill: ``[rows, 1, new, length]``, True where visible.
        Decode: `Blocked`, True where hidden.
    """
    queries = _now.queries[:, None, :, None]
    keys = _now.keys[None, None, None, :]
    first = queries.new_zeros(())
    visible = mask_function(first, first, queries, keys)
    visible = visible.expand(queries.shape[0], 1, queries.shape[2], keys.shape[3])
    if _now.shared is None:
        return visible
    hidden = ~visible[:, 0, 0]  # [slots, length]
    slots = hidden.shape[0]
    own = hidden[:, _now.shared :].reshape(slots, 1, 1, -1, BLOCK).permute(3, 0, 1, 2, 4)
    shared = hidden[:, : _now.shared][None, :, None] if _now.shared else None
    return Blocked(shared, own.contiguous())


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor | Blocked,
    value: Tensor | Blocked,
    attention_mask: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    key_bias: Tensor | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """HuggingFace's attention function, with ``key_bias`` ``[heads, length]`` on scaled scores.

    ``s_aux`` is HuggingFace's name for attention sinks.

    Returns:
        ``[rows, new, heads, head]`` of queries ``[rows, heads, new, head]``; no attention weights.
    """
    given = (name for name, value in others.items() if value is not None and value is not False)
    unknown = sorted({*given} - _HARMLESS)
    if unknown:
        raise NotImplementedError(f"its attention takes {', '.join(unknown)}")
    if attention_mask is None:
        raise NotImplementedError("its attention layers get no mask")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(key, Blocked):
        assert isinstance(value, Blocked)
        bias = None if key_bias is None else _blocked_bias(key_bias, key)
        attend = attend_slots if _now.kernel == "blocks" else attend_slots_flex
        return attend(query, key, value, attention_mask, scaling, softcap, bias, s_aux), None
    assert isinstance(value, Tensor)
    if key_bias is not None:
        attention_mask = key_bias[None, :, None].masked_fill(~attention_mask, -torch.inf)
    return _attend_prompts(query, key, value, attention_mask, scaling, softcap, s_aux), None


def _blocked_bias(bias: Tensor, keys: Blocked) -> Blocked:
    """``[heads, length]`` in the shapes of the scores of `attend_slots`, without slots."""
    blocks, _, kv_heads, _, _ = keys.own.shape
    before = 0 if keys.shared is None else keys.shared.shape[2]
    bias = bias.view(kv_heads, -1, bias.shape[1])  # [kv_heads, group, length]
    own = bias[..., before:].unflatten(-1, (blocks, BLOCK)).permute(2, 0, 1, 3)
    return Blocked(bias[:, None, :, :before] if before else None, own[:, None])


def attend_slots(
    query: Tensor,
    keys: Blocked,
    values: Blocked,
    hidden: Blocked,
    scaling: float,
    softcap: float | None,
    bias: Blocked | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """One new token per slot against its own and the shared keys.

    Query heads that share a key head are multiplied with it together; keys are never repeated.

    Args:
        query: ``[slots, heads, 1, head]``.
        keys: See `Blocked`.
        values: Likewise.
        hidden: Likewise.
        scaling: Factor on the scores.
        softcap: Scores are ``softcap · tanh(scores / softcap)`` (Gemma 2); None leaves them.
        bias: Added to scaled scores (ALiBi).
        sinks: ``[heads]``, the score of a further key of each head, whose value is 0 (GPT-OSS).

    Returns:
        ``[slots, 1, heads, head]``.
    """
    blocks, slots, kv_heads, _, width = keys.own.shape
    group = query.shape[1] // kv_heads
    query = query.reshape(slots, kv_heads, group, width)

    repeated = query.expand(blocks, slots, kv_heads, group, width)
    scores = torch.bmm(
        repeated.reshape(-1, group, width), keys.own.view(-1, BLOCK, width).transpose(1, 2)
    ).view(blocks, slots, kv_heads, group, BLOCK)
    scores = _finish_scores(scores, scaling, softcap, hidden.own, bias and bias.own)
    largest = scores.amax(dim=(0, -1))  # [slots, kv_heads, group]
    if sinks is not None:
        sinks = sinks.float().view(kv_heads, group)
        largest = torch.maximum(largest, sinks)

    total = weighted = None
    if keys.shared is not None:
        assert values.shared is not None
        assert hidden.shared is not None
        by_head = query.transpose(0, 1).reshape(kv_heads, slots * group, width)
        shared = _with_own_prefix(by_head, keys.shared.transpose(2, 3), keys.prefix)
        shared = _finish_scores(shared, scaling, softcap, hidden.shared, bias and bias.shared)
        largest = torch.maximum(largest, shared.amax(dim=-1).transpose(0, 1))
        shared = shared.sub_(largest.transpose(0, 1)[..., None]).exp_()
        total = shared.sum(dim=-1).transpose(0, 1)  # [slots, kv_heads, group]
        weights = shared.to(query.dtype).view(kv_heads, slots * group, -1)
        weighted = _with_own_prefix(weights, values.shared, values.prefix)
        weighted = weighted.transpose(0, 1).float()  # [slots, kv_heads, group, width]

    scores = scores.sub_(largest[..., None]).exp_()
    totals = scores.sum(dim=-1)
    parts = torch.bmm(
        scores.to(query.dtype).view(-1, group, BLOCK), values.own.view(-1, BLOCK, width)
    ).view(blocks, slots, kv_heads, group, width)
    # One after the other: a row's sum must not depend on how many blocks follow its last one.
    for block in range(blocks):
        total = totals[block] if total is None else total + totals[block]
        weighted = parts[block].float() if weighted is None else weighted + parts[block]
    assert total is not None
    assert weighted is not None
    if sinks is not None:
        total = total + (sinks - largest).exp()
    mixed = (weighted / total[..., None]).to(query.dtype)
    return mixed.reshape(slots, 1, kv_heads * group, width)


def attend_slots_flex(
    query: Tensor,
    keys: Blocked,
    values: Blocked,
    hidden: Blocked,
    scaling: float,
    softcap: float | None,
    bias: Blocked | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """`attend_slots` through torch's flex_attention; the arguments are the same."""
    slots, heads, _, width = query.shape
    seen = nothing_seen(query, sinks)
    if keys.shared is not None:
        assert values.shared is not None
        assert hidden.shared is not None
        assert keys.prefix is not None
        on_prefix = None if bias is None or bias.shared is None else bias.shared.reshape(heads, -1)
        for number, (key, value) in enumerate(zip(keys.shared, values.shared, strict=True)):
            unseen = hidden.shared[0, :, 0] | (keys.prefix != number)[:, None]
            seen = add_prefix(seen, query, key, value, unseen, on_prefix, scaling, softcap)
    for number, (key, value) in enumerate(zip(keys.own, values.own, strict=True)):
        on_block = None if bias is None else bias.own[number].reshape(heads, BLOCK)
        unseen = hidden.own[number, :, 0, 0]
        seen = add_block(seen, query, key, value, unseen, on_block, scaling, softcap)
    return mean_of(seen).to(query.dtype).reshape(slots, 1, heads, width)


def _with_own_prefix(rows: Tensor, prefixes: Tensor, which: Tensor | None) -> Tensor:
    """Every slot's rows times the tensor of its own prefix.

    All prefixes are multiplied with all rows, one after the other, so that neither the number of
    prefixes nor a slot's own changes how its sums are split up.

    Args:
        rows: ``[kv_heads, slots · group, n]``.
        prefixes: ``[prefixes, kv_heads, n, m]``.
        which: ``[slots]``, the prefix of each.

    Returns:
        ``[kv_heads, slots, group, m]``.
    """
    assert which is not None
    slots = len(which)
    products = [torch.bmm(rows, one).view(len(rows), slots, -1, one.shape[-1]) for one in prefixes]
    chosen = products[0]
    for number, product in enumerate(products[1:], start=1):
        chosen = torch.where((which == number)[:, None, None], product, chosen)
    return chosen


def _finish_scores(
    scores: Tensor,
    scaling: float,
    softcap: float | None,
    hidden: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Scaled, capped, biased and masked scores in float32."""
    scores = scores.float() * scaling
    if softcap is not None:
        scores = (scores / softcap).tanh_().mul_(softcap)
    if bias is not None:
        scores = scores + bias
    return scores.masked_fill_(hidden, -torch.inf)


def _attend_prompts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    scaling: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attention of a prefill: ``[rows, heads, new, head]`` → ``[rows, new, heads, head]``."""
    group = query.shape[1] // key.shape[1]
    key = key.repeat_interleave(group, dim=1)
    value = value.repeat_interleave(group, dim=1)
    if softcap is None and sinks is None:
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling)
    else:
        scores = _finish_scores(query @ key.transpose(2, 3), scaling, softcap, ~visible)
        if sinks is not None:
            further = sinks.float()[None, :, None, None].expand(*scores.shape[:-1], 1)
            scores = torch.cat([scores, further], dim=-1)
        shares = scores.softmax(dim=-1)[..., : key.shape[2]]
        mixed = shares.to(query.dtype) @ value
    return mixed.transpose(1, 2).contiguous()


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
