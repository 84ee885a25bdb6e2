"""DAC's strength α_t, derived once more, apart from the code that the engines run."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snakesteer.engine.watch import Stream
from snakesteer.steering.dac import Dac
from snakesteer.steering.kinds import Steering


def dynamic_strengths(
    logits: Mapping[Stream, Sequence[Tensor]], steering: Steering | None
) -> list[float]:
    """α_t of every step, from the logits that an engine had; empty for constant strengths.

    Args:
        logits: Stream → ``[vocab]`` of every step.
        steering: How the answer was steered.
    """
    if steering is None or steering.dac is None:
        return []
    streams = zip(logits["unsteered"], logits["probe"], strict=False)
    return [_strength(one.double(), other.double(), steering.dac) for one, other in streams]


def entropy(logits: Tensor) -> float:
    """Of next-token logits ``[vocab]``, in nats."""
    return float(torch.special.entr(logits.double().softmax(dim=-1)).sum())


def _strength(unsteered: Tensor, probe: Tensor, dac: Dac) -> float:
    """The formula of `snakesteer.steering.dac.dynamic_alpha`, from float64 logits ``[vocab]``."""
    if not entropy(unsteered) > dac.entropy_threshold:
        return 0.0
    union = likeliest(unsteered, dac.ptop) | likeliest(probe, dac.ptop)
    log_p, log_q = unsteered[union].log_softmax(dim=-1), probe[union].log_softmax(dim=-1)
    possible = ~log_p.isneginf()
    kl = (log_p.exp() * (log_p - log_q))[possible].sum()
    if dac.kl == "per_token":
        kl = kl / union.sum()
    return dac.max_alpha if kl.isnan() else min(max(float(kl), 0.0), dac.max_alpha)


def likeliest(logits: Tensor, mass: float) -> Tensor:
    """The likeliest tokens up to the one that crosses a mass, of equal ones those with lower ids.

    Args:
        logits: ``[vocab]`` float64.
        mass: In (0, 1].

    Returns:
        ``[vocab]`` bool.
    """
    probability, order = logits.softmax(dim=-1).sort(descending=True, stable=True)
    kept = probability.cumsum(dim=-1) - probability < mass
    return torch.zeros_like(kept).index_put((order,), kept)
