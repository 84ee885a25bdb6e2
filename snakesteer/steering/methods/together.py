"""Change the residual stream by several vectors at once, each with its own scope and operator.

`steering.together` says what they are. The searched strength is that of the first one, the others
keep their proportions to it. A text gets them in the order of the list, which matters where they
meet at one layer and do something else than add.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snakesteer.config import Range, SteeringConfig
from snakesteer.config.together import TogetherPart
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods.base import Space, Trial, strength_name, suggest_float

KIND = "residual"
KEYS = ("steering.together",)
NEEDS = ("steering.together",)


def suggest(trial: Trial, space: Space) -> Candidate:
    """The strength."""
    config = space.config
    assert config.together is not None
    strength = suggest_float(trial, strength_name(config), config.strength)
    first, *others = (_candidate(part, strength, space) for part in config.together)
    return replace(first, beside=tuple(others))


def choices(config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[Any]]:
    """None."""
    return {}


def spans(config: SteeringConfig) -> dict[str, Range]:
    """None."""
    return {}


def dynamic(config: SteeringConfig) -> bool:
    """No."""
    return False


def _candidate(part: TogetherPart, strength: float, space: Space) -> Candidate:
    """One part at a strength of the first one, which is a share where a component is removed."""
    own, vector = part.weight * strength, space.vectors[part.direction, part.layer]
    in_alpha = space.config.unit == "alpha"
    alpha, dose = (own, vector.dose(own)) if in_alpha else (vector.alpha(own), own)
    if part.operator == "ablate":
        alpha = dose = own
    return Candidate(
        method=space.method,
        direction=part.direction,
        layer=part.layer,
        alpha=alpha,
        dose=dose,
        scope=part.scope,
        first_k=part.first_k,
        operator=part.operator,
        generated_window=part.generated_window,
        at_tokens=part.at_tokens,
    )
