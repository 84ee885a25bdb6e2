"""Choosing the next token: greedy, or sampled from a random stream of the request's own.

A request's randomness depends on its seed and the step alone, never on its row, its neighbours or
the engine: step i of a request uses the i-th number of a counter-based stream (Philox; Salmon et
al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

import numpy as np
import torch
from torch import Tensor

from snakesteer.engine.interface import Decoding


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

    Sampling inverts the cumulative distribution at `uniform`, likeliest tokens first. Of equal
    logits the lower token id comes first, so that the choice is the same on every device. Top-k is
    applied before top-p, and the token that crosses the top-p mass is kept (as in HuggingFace
    ``generate``).

    Args:
        logits: ``[batch, vocab]``, any float dtype.
        decoding: Temperature, top-p and top-k.
        uniform: ``[batch]`` in [0, 1), on any device; needed when the temperature is above 0.

    Returns:
        ``[batch]`` int64 token ids.
    """
    if decoding.temperature == 0.0:
        return logits.argmax(dim=-1)
    if uniform is None:
        raise ValueError("sampling needs one uniform number per row")
    if logits.device.type == "mps":  # has no float64
        return choose(logits.cpu(), decoding, uniform).to(logits.device)
    ordered, ids = logits.float().sort(dim=-1, descending=True, stable=True)
    probabilities = (ordered.double() / decoding.temperature).softmax(dim=-1)
    if 0 < decoding.top_k < probabilities.shape[-1]:
        probabilities[:, decoding.top_k :] = 0.0
        probabilities /= probabilities.sum(dim=-1, keepdim=True)
    if decoding.top_p < 1.0:
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(before >= decoding.top_p, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    target = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    rank = (cumulative <= target).sum(dim=-1, keepdim=True)
    # Rounding may put the target at the total: the last token with any mass is meant then. A row
    # of NaN has none; it gets some token, so that it does not take the other rows down with it.
    last = ((probabilities > 0).sum(dim=-1, keepdim=True) - 1).clamp(min=0)
    return ids.gather(-1, torch.minimum(rank, last))[:, 0]
