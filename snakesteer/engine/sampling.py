"""Choosing the next token: greedy, or sampled from a random stream of the request's own.

A request's randomness depends on its seed and the step alone, never on its row, its neighbours or
the engine: step i of a request uses the i-th number of a counter-based stream (Philox; Salmon et
al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

import numpy as np
import torch
from torch import Tensor

from snakesteer.engine.interface import Decoding
from snakesteer.steering.nucleus import lowest_ids, nucleus

_COLDEST = 1e-30  # float32 has no 1 / 0; from far above on it is greedy
_BELOW_ONE = 1.0 - 2.0**-24  # the largest float32 below 1; times any total it stays below that


def uniforms(seed: int, count: int) -> Tensor:
    """The first numbers of a request's random stream.

    Args:
        seed: The request's seed.
        count: How many; a longer stream starts with the shorter one.

    Returns:
        ``[count]`` float64 in [0, 1).
    """
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=seed)).random(count))


def choose(logits: Tensor, decoding: Decoding, uniform: Tensor | None = None) -> Tensor:
    """Pick one token per row.

    Sampling inverts the cumulative distribution at `uniform`, in the order of token ids: no sort,
    and two distributions that are close to each other give the same token for nearly all numbers.
    Of equal logits the lower token ids are kept, so that the choice is the same on every device.
    Top-k is applied before top-p, and the token that crosses the top-p mass is kept (as in
    HuggingFace ``generate``).

    Args:
        logits: ``[batch, vocab]``, any float dtype.
        decoding: Temperature, top-p and top-k.
        uniform: ``[batch]`` in [0, 1), on any device; needed when the temperature is above 0.
            Used in float32.

    Returns:
        ``[batch]`` int64 token ids. A row of NaN gets some token.
    """
    if decoding.temperature == 0.0:
        return logits.argmax(dim=-1)
    if uniform is None:
        raise ValueError("sampling needs one uniform number per row")
    logits = logits.float()
    if 0 < decoding.top_k < logits.shape[-1]:
        logits = logits.masked_fill(~_likeliest(logits, decoding.top_k), -torch.inf)
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    probability = (shifted / max(decoding.temperature, _COLDEST)).softmax(dim=-1)
    if decoding.top_p < 1.0:
        mass = torch.full_like(probability[:, 0], decoding.top_p)
        probability = probability.masked_fill(~nucleus(probability, mass), 0.0)
    # A token without probability has no part in it, however sums are rounded.
    cumulative = torch.where(probability > 0.0, probability.cumsum(dim=-1), 0.0)
    below_one = uniform.float().clamp(max=_BELOW_ONE).to(logits.device)
    target = below_one[:, None] * cumulative.amax(dim=-1, keepdim=True)
    return (cumulative > target).to(torch.uint8).argmax(dim=-1)  # the first


def _likeliest(logits: Tensor, count: int) -> Tensor:
    """``[batch, vocab]`` bool: exactly so many per row, of equal ones those with lower ids."""
    least = logits.topk(count, dim=-1).values[:, -1:]
    above = logits > least
    return above | lowest_ids(logits == least, count - above.sum(dim=-1, keepdim=True))
