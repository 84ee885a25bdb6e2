"""What is answered together with an answer that is checked, so that a mix-up of rows would show."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

from snakesteer.engine.interface import Request
from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import ResidualSteering


def variants(steering: Steering) -> list[Steering]:
    """A steering, the same with another vector, and the same at half its strength.

    An engine that shares what it must not among requests of one prompt (a prompt that was read
    under steering, a slot's vector, the vectors of heads) gives one of them the answer of another.
    Alone where there is a gate: where it is open depends on the answer's text.
    """
    if isinstance(steering, ResidualSteering) and steering.gate is not None:
        return [steering]
    other = steering.with_vectors(lambda vector, _: vector.roll(1, dims=-1))
    return [steering, other, _half(steering)]


def _half(steering: Steering) -> Steering:
    if not isinstance(steering, ResidualSteering):
        return replace(steering, alpha=steering.alpha / 2)
    return steering.with_parts(
        lambda part: replace(
            part,
            alpha=part.alpha / 2,
            more=tuple(replace(place, alpha=place.alpha / 2) for place in part.more),
        )
    )


def alike(requests: Mapping[str, Request]) -> list[str]:
    """The two problems whose prompts are closest in length: they may well be read in one batch."""
    names = sorted(requests, key=lambda name: len(requests[name].prompt_ids))
    pairs = [*itertools.pairwise(names)]

    def apart(pair: tuple[str, str]) -> int:
        one, other = (requests[name].prompt_ids for name in pair)
        return len(other) - len(one)

    return [*min(pairs, key=apart)] if pairs else []
