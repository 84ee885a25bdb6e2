"""Attention of a decode step through torch's flex_attention, part by part.

A part is one block of every slot's own keys, or one of the shared prefixes. On a GPU its keys and
values are read once, and its scores are never written to memory: the plain way
(`snakesteer.engine.slots.attention`) writes and reads them several times in float32. Parts are
summed up one after the other, and one that is hidden as a whole adds exact zeros. As each is a
computation of one shape, however many there are, a row's bits are its own here, too.

Query heads that share a key head are given to torch as queries of that head: of numbers of them
that are no power of two it has no kernel that reads their keys once.

On a CPU nothing is compiled, and all is slow: torch has no compiled form there that also returns
the logarithm of the sums.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention

# Of the compiled kernels. All keys of a part are summed up by one program; that is not in the
# options' type. Torch's kernel for few queries holds all of a prefix's in one program: too many.
_OF_BLOCKS: Any = {"SPLIT_KV": 1}
_OF_PREFIXES: Any = {"FORCE_USE_FLEX_ATTENTION": True}
# As the check computes in any case; with torch's own sizes it needs up to 168 KB of shared memory.
_IN_FLOAT32: Any = {"BLOCK_M": 32, "BLOCK_N": 32, "num_stages": 1}
# Compiled forms of one function, for shapes, dtypes and scalings. Torch's own limit is 8, beyond
# which it goes on with what is not compiled.
_FORMS = 1024


class Seen(NamedTuple):
    """The keys seen so far, all in float32.

    Attributes:
        largest: ``[slots, heads]``, the largest log-sum; finite.
        total: ``[slots, heads]``, the sum of exp(score − largest).
        weighted: ``[slots, heads, width]``, the same of the values.
    """

    largest: Tensor
    total: Tensor
    weighted: Tensor


def nothing_seen(query: Tensor, sinks: Tensor | None = None) -> Seen:
    """Before the first part, for queries ``[slots, heads, 1, width]``.

    Args:
        query: The queries.
        sinks: See `snakesteer.engine.slots.attention.attend_slots`; they are seen already.
    """
    slots, heads, _, width = query.shape
    total = query.new_zeros(slots, heads, dtype=torch.float32)
    weighted = query.new_zeros(slots, heads, width, dtype=torch.float32)
    if sinks is not None:
        return Seen(sinks.float().expand(slots, heads), total + 1.0, weighted)
    # In place of −∞, so that hidden parts change nothing before the first that is not.
    lowest = torch.full_like(total, torch.finfo(torch.float32).min)
    return Seen(lowest, total, weighted)


def _compiled_on_gpus(add: Callable[..., Seen]) -> Callable[..., Seen]:
    @wraps(add)
    def run(seen: Seen, query: Tensor, *others: Any) -> Seen:
        import torch._dynamo  # it takes seconds

        with torch._dynamo.config.patch(recompile_limit=_FORMS, accumulated_recompile_limit=_FORMS):
            return _function(add, query.is_cuda)(seen, query, *others)

    return run


@cache
def _function(add: Callable[..., Seen], compiled: bool) -> Callable[..., Seen]:
    return torch.compile(add, dynamic=False, fullgraph=True) if compiled else add


@_compiled_on_gpus
def add_block(
    seen: Seen,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor,
    bias: Tensor | None,
    scaling: float,
    softcap: float | None,
) -> Seen:
    """Add a block of every slot's own keys.

    Args:
        seen: What stands before it.
        query: ``[slots, heads, 1, width]``.
        key: ``[slots, kv_heads, BLOCK, width]``.
        value: The same of the values.
        hidden: ``[slots, BLOCK]`` bool.
        bias: ``[heads, BLOCK]`` on scaled scores, if any.
        scaling: Factor on the scores.
        softcap: See `snakesteer.engine.slots.attention.attend_slots`.
    """
    slots, heads, _, width = query.shape
    group = heads // key.shape[1]

    def finish(score: Tensor, slot: Tensor, head: Tensor, member: Tensor, at: Tensor) -> Tensor:
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        score = score if bias is None else score + bias[head * group + member, at]
        return torch.where(hidden[slot, at], -float("inf"), score)

    grouped = query.reshape(slots, -1, group, width)
    mixed, log_sum = _flex(grouped, key, value, finish, scaling, _OF_BLOCKS)
    return _added(seen, mixed.reshape(slots, heads, width), log_sum.reshape(slots, heads))


@_compiled_on_gpus
def add_prefix(
    seen: Seen,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor,
    bias: Tensor | None,
    scaling: float,
    softcap: float | None,
) -> Seen:
    """Add a shared prefix, whose keys are multiplied with the queries of all slots at once.

    Args:
        seen: What stands before it.
        query: ``[slots, heads, 1, width]``.
        key: ``[kv_heads, shared, width]``.
        value: The same of the values.
        hidden: ``[slots, shared]`` bool; all of it where a slot has another prefix.
        bias: ``[heads, shared]``, if any.
        scaling: As in `add_block`.
        softcap: Likewise.
    """
    slots, heads, _, width = query.shape
    kv_heads = len(key)
    group = heads // kv_heads

    def finish(score: Tensor, _: Tensor, head: Tensor, row: Tensor, at: Tensor) -> Tensor:
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        score = score if bias is None else score + bias[head * group + row % group, at]
        return torch.where(hidden[row // group, at], -float("inf"), score)

    rows = query.reshape(slots, kv_heads, group, width).transpose(0, 1)
    rows = rows.reshape(1, kv_heads, slots * group, width)
    options = _OF_PREFIXES | (_IN_FLOAT32 if query.dtype == torch.float32 else {})
    mixed, log_sum = _flex(rows, key[None], value[None], finish, scaling, options)
    mixed = mixed.reshape(kv_heads, slots, group, width).transpose(0, 1)
    log_sum = log_sum.reshape(kv_heads, slots, group).transpose(0, 1)
    return _added(seen, mixed.reshape(slots, heads, width), log_sum.reshape(slots, heads))


def mean_of(seen: Seen) -> Tensor:
    """The values' mean by the softmax of all scores, ``[slots, heads, width]`` float32."""
    return seen.weighted / seen.total[..., None]


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    finish: Callable[..., Tensor],
    scaling: float,
    options: Any,
) -> tuple[Tensor, Tensor]:
    """Mixed values in the model's dtype, and log-sums of the scores in float32."""
    mixed, more = flex_attention(
        query,
        key,
        value,
        score_mod=finish,
        scale=scaling,
        kernel_options=options,
        return_aux=AuxRequest(lse=True),
    )
    assert more.lse is not None
    return mixed, more.lse.float()


def _added(seen: Seen, mixed: Tensor, log_sum: Tensor) -> Seen:
    """With one part more.

    Args:
        seen: What stands before it.
        mixed: ``[slots, heads, width]``, its values by the softmax of its own scores.
        log_sum: ``[slots, heads]``, log of the sum of exp(score); −∞ where all of it is hidden.
    """
    largest = torch.maximum(seen.largest, log_sum)
    before, weight = (seen.largest - largest).exp(), (log_sum - largest).exp()
    total = before * seen.total + weight
    weighted = before[..., None] * seen.weighted + weight[..., None] * mixed.float()
    return Seen(largest, total, weighted)
