"""The likeliest tokens that hold a mass (the nucleus of top-p sampling), found without a sort.

Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration" (arXiv 1904.09751). A sort of
the whole vocabulary at every token costs more than a small model. On a CPU the few tokens that can
matter are sorted, each row by itself. Elsewhere the smallest kept probability is bisected: a fixed
number of steps whose shapes do not depend on data, so that a CUDA graph holds them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Probabilities under which a CPU looks for tokens only where those above do not hold the mass.
_BOUNDS = (1e-4, 1e-6, 0.0)
_ONE = 0x3F800000  # the bits of 1.0 in float32; those of positive numbers are in their order
_STEPS = _ONE.bit_length()


def nucleus(probability: Tensor, mass: Tensor) -> Tensor:
    """The smallest set of likeliest tokens whose probability reaches a mass.

    The token that crosses the mass is kept, so that the set is never empty, but for a row of NaN.
    Of equal tokens the lower ids are kept. A token without any probability is never in the set.

    Args:
        probability: ``[batch, vocab]`` float32.
        mass: ``[batch]`` in (0, 1].

    Returns:
        ``[batch, vocab]`` bool.
    """
    if probability.device.type != "cpu":
        return by_bisection(probability, mass)
    rows = zip(probability.numpy(), mass.tolist(), strict=True)
    return torch.from_numpy(np.stack([nucleus_of_row(*row) for row in rows]))


def nucleus_of_row(probability: NDArray[np.float32], mass: float) -> NDArray[np.bool_]:
    """`nucleus` of one row on a CPU.

    Args:
        probability: ``[vocab]``.
        mass: In (0, 1].

    Returns:
        ``[vocab]``.
    """
    candidates = probability
    for bound in _BOUNDS:
        candidates = probability[probability > bound]
        if candidates.sum(dtype=np.float64) >= mass:
            break
    if len(candidates) == 0:
        return np.zeros_like(probability, dtype=np.bool_)
    descending = np.sort(candidates)[::-1]
    crossing = int(np.searchsorted(descending.cumsum(dtype=np.float64), mass))
    count = min(crossing + 1, len(descending))
    least = descending[count - 1]
    kept: NDArray[np.bool_] = probability >= least
    excess = np.count_nonzero(kept) - count
    if excess > 0:
        kept[np.flatnonzero(probability == least)[-excess:]] = False
    return kept


def by_bisection(probability: Tensor, mass: Tensor) -> Tensor:
    """`nucleus` without a sort, a number read by the host or a shape that depends on data."""
    mass = mass.to(probability)[:, None]
    low = torch.ones_like(mass, dtype=torch.int32)  # tokens from here on reach the mass …
    high = torch.full_like(low, _ONE + 1)  # … and those from here on do not
    for _ in range(_STEPS):
        middle = low + (high - low) // 2
        above = torch.where(probability >= middle.view(torch.float32), probability, 0.0)
        reached = above.sum(dim=-1, keepdim=True) >= mass
        low, high = torch.where(reached, middle, low), torch.where(reached, high, middle)
    least = low.view(torch.float32)
    above = probability > least
    missing = mass - torch.where(above, probability, 0.0).sum(dim=-1, keepdim=True)
    return above | lowest_ids(probability == least, (missing / least).ceil().clamp(min=1.0))


def lowest_ids(among: Tensor, count: Tensor) -> Tensor:
    """The members of a set with the lowest ids.

    Args:
        among: ``[batch, vocab]`` bool.
        count: ``[batch, 1]``, how many of them.

    Returns:
        ``[batch, vocab]`` bool.
    """
    return among & (among.cumsum(dim=-1, dtype=torch.int32) <= count)
