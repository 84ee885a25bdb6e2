"""Attention of a decode step through torch's flex_attention, part by part.

A part is one block of every slot's own keys, or one of the shared prefixes. On a GPU its keys and
values are read once, and its scores are never written to memory: the plain way
(`snakesteer.engine.slots.attention`) writes and reads them several times in float32. Parts are
summed up one after the other, and one that is hidden as a whole adds exact zeros. As each is a
computation of one shape, however many there are, a row's bits are its own here, too.

On a CPU nothing is compiled, and all is slow: torch has no compiled form there that also returns
the logarithm of the sums.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention

# Of the compiled kernel: all keys of a part are summed up by one program. Not in the options' type.
_OPTIONS: Any = {"SPLIT_KV": 1}


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


def nothing_seen(query: Tensor) -> Seen:
    """Before the first part, for queries ``[slots, heads, 1, width]``."""
    slots, heads, _, width = query.shape
    zeros = query.new_zeros(slots, heads, width, dtype=torch.float32)
    # In place of −∞, so that hidden parts change nothing before the first that is not.
    lowest = torch.full_like(zeros[..., 0], torch.finfo(torch.float32).min)
    return Seen(lowest, zeros[..., 0], zeros)


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
    return _function(_add_block, query.is_cuda)(
        seen, query, key, value, hidden, bias, scaling, softcap
    )


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
    return _function(_add_prefix, query.is_cuda)(
        seen, query, key, value, hidden, bias, scaling, softcap
    )


def mean_of(seen: Seen) -> Tensor:
    """The values' mean by the softmax of all scores, ``[slots, heads, width]`` float32."""
    return seen.weighted / seen.total[..., None]


@cache
def _function(add: Callable[..., Seen], compiled: bool) -> Callable[..., Seen]:
    return torch.compile(add, dynamic=False) if compiled else add


def _add_block(
    seen: Seen,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor,
    bias: Tensor | None,
    scaling: float,
    softcap: float | None,
) -> Seen:
    def finish(score: Tensor, slot: Tensor, head: Tensor, _: Tensor, at: Tensor) -> Tensor:
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        score = score if bias is None else score + bias[head, at]
        return torch.where(hidden[slot, at], -float("inf"), score)

    mixed, log_sum = _flex(query, key, value, finish, scaling)
    return _added(seen, mixed[:, :, 0], log_sum[:, :, 0])


def _add_prefix(
    seen: Seen,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor,
    bias: Tensor | None,
    scaling: float,
    softcap: float | None,
) -> Seen:
    def finish(score: Tensor, _: Tensor, head: Tensor, slot: Tensor, at: Tensor) -> Tensor:
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        score = score if bias is None else score + bias[head, at]
        return torch.where(hidden[slot, at], -float("inf"), score)

    by_head = query.permute(2, 1, 0, 3)  # [1, heads, slots, width]
    mixed, log_sum = _flex(by_head, key[None], value[None], finish, scaling)
    return _added(seen, mixed[0].transpose(0, 1), log_sum[0].transpose(0, 1))


def _flex(
    query: Tensor, key: Tensor, value: Tensor, finish: Callable[..., Tensor], scaling: float
) -> tuple[Tensor, Tensor]:
    """Mixed values in the model's dtype, and log-sums of the scores in float32."""
    mixed, more = flex_attention(
        query,
        key,
        value,
        score_mod=finish,
        scale=scaling,
        enable_gqa=True,
        kernel_options=_OPTIONS,
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
