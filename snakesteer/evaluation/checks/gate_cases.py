"""What the gate looks at: every kind of steering in a search."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from snakesteer.config import SteeringConfig
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate, VectorKey
from snakesteer.steering.kinds import Steering
from snakesteer.steering.kl_unit import KlCurves
from snakesteer.steering.space import suggest
from snakesteer.steering.trials import LargestTrial
from snakesteer.steering.vector import AnyVector


@dataclass(frozen=True, eq=False)
class GateCase:
    """One kind of steering in the search, at a strength that is not 0.

    Attributes:
        name: For results.
        candidate: The configuration.
        steering: What the engine needs. Where the strength is dynamic, every step is steered. For
            windows, scopes by token and gates see `looks`.
    """

    name: str
    candidate: Candidate
    steering: Steering


def gate_cases(
    config: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, AnyVector],
    curves: KlCurves | None = None,
) -> list[GateCase]:
    """What the search steers with: every method, with every operator and gate that it has.

    They take turns at directions and layers.
    """
    kinds: dict[str, GateCase] = {}
    choices = itertools.product(
        config.methods, range(len(config.operators)), range(len(config.gates))
    )
    for method, operator, gate in choices:
        # Operators come in turn, whatever the number that they begin with.
        number = len(kinds) if len(config.operators) == 1 else operator
        candidate = suggest(LargestTrial(method, number, gate), config, layers, vectors, curves)
        name = candidate.method
        if candidate.operator != "add":
            name += f" {candidate.operator}"
        if candidate.gate is not None:
            name += f" gate {candidate.gate.name}"
        steering = steering_of(candidate, vectors)
        assert steering is not None  # a range of strengths is wider than 0
        if steering.dac is not None:
            steering = replace(steering, dac=replace(steering.dac, entropy_threshold=-1.0))
        kinds.setdefault(name, GateCase(name, candidate, steering))
    return list(kinds.values())
