"""What is answered together with an answer that is checked, so that a mix-up of rows would show."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from snakesteer.engine.interface import Request
from snakesteer.evaluation.checks.dynamic_truth import entropy
from snakesteer.steering.dac import Dac
from snakesteer.steering.kinds import Steering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering

_OUT_OF_REACH = 4.0  # times the cap of the run
_WITHIN_REACH = 0.01  # a cap in nats
_LIKELIEST = 1e-6  # a mass that one token has


def variants(steering: Steering, first_logits: Tensor) -> list[Steering]:
    """A steering, the same with another vector, and the same at half its strength.

    An engine that shares what it must not among requests of one prompt (a prompt that was read
    under steering, a slot's vector, the vectors of heads) gives one of them the answer of another.
    Alone where there is a gate: where it is open depends on the answer's text.

    Under a dynamic strength, all tokens count in the first one, and its cap is out of reach, as far
    as one can say. In the second one the likeliest token alone counts (between these, rounding may
    decide which tokens do), the third one's cap is low, and a fourth one is not steered at the
    first step.

    Args:
        steering: How a text is steered.
        first_logits: ``[vocab]`` of the first step, unsteered.
    """
    if isinstance(steering, ResidualSteering) and steering.gate is not None:
        return [steering]
    other, half = steering.with_vectors(lambda v, _: v.roll(1, dims=-1)), _scaled(steering, 0.5)
    dac = steering.dac
    if dac is None:
        return [steering, other, half]
    free = replace(dac, ptop=1.0, max_alpha=_OUT_OF_REACH * dac.max_alpha)
    capped = replace(free, max_alpha=_WITHIN_REACH)
    closed = replace(free, entropy_threshold=entropy(first_logits) * 1.001 + 1e-3)
    as_strong = _scaled(half, 1.0 / _WITHIN_REACH)
    return [
        _with_dac(steering, free),
        _with_dac(other, replace(free, ptop=_LIKELIEST)),
        _with_dac(as_strong, capped),
        _with_dac(steering, closed),
    ]


def _with_dac(steering: Steering, dac: Dac) -> Steering:
    assert not isinstance(steering, PromptStartSteering)
    return replace(steering, dac=dac)


def _scaled(steering: Steering, factor: float) -> Steering:
    if not isinstance(steering, ResidualSteering):
        return replace(steering, alpha=factor * steering.alpha)
    return steering.with_parts(
        lambda part: replace(
            part,
            alpha=factor * part.alpha,
            more=tuple(replace(place, alpha=factor * place.alpha) for place in part.more),
        )
    )


def nearest_prompts(requests: Mapping[str, Request]) -> list[str]:
    """The two problems whose prompts are closest in length: they may well be read in one batch."""
    names = sorted(requests, key=lambda name: len(requests[name].prompt_ids))
    pairs = [*itertools.pairwise(names)]

    def apart(pair: tuple[str, str]) -> int:
        one, other = (requests[name].prompt_ids for name in pair)
        return len(other) - len(one)

    return [*min(pairs, key=apart)] if pairs else []
