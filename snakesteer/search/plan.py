"""What a study is run with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.evaluation.answers import Answer
from snakesteer.search.objectives import KlOf
from snakesteer.steering.candidate import VectorKey
from snakesteer.steering.kl_unit import KlCurves
from snakesteer.steering.vector import AnyVector

FEWEST_IN_FLIGHT, MOST_IN_FLIGHT = 2, 8
PROBLEMS_PER_ROW = 12  # of all trials in flight


@dataclass(frozen=True, eq=False)
class Plan:
    """What a study is run with.

    Attributes:
        search: Number of trials, sampler, pruner.
        steering: The search space.
        layers: Layers to choose from.
        vectors: All vectors that may be chosen.
        baseline: Unsteered answers to all problems of the search.
        trials_in_flight: Trials evaluated at the same time.
        rows: Requests that the engine decodes together.
        worker: Number of this process among those that share the study.
        curves: Of strengths in nats; None where these are not the unit.
        cost: What a configuration costs on neutral text; None where that is no objective.
    """

    search: SearchConfig
    steering: SteeringConfig
    layers: Sequence[int]
    vectors: Mapping[VectorKey, AnyVector]
    baseline: Sequence[Answer]
    trials_in_flight: int
    rows: int
    worker: int = 0
    curves: KlCurves | None = None
    cost: KlOf | None = None

    @property
    def num_chunks(self) -> int:
        """Number of chunks of the problems."""
        return math.ceil(len(self.baseline) / self.search.chunk_size)

    def chunk(self, number: int) -> slice:
        """Where a chunk lies among the problems."""
        size = self.search.chunk_size
        return slice(number * size, (number + 1) * size)

    def chunk_length(self, number: int) -> int:
        """How many problems a chunk has."""
        return len(self.baseline[self.chunk(number)])


def fitting_trials(rows: int, problems: int) -> int:
    """Trials in flight that keep an engine busy: they have twelve problems for each of its rows.

    No more than eight, as a trial is proposed without the results of those in flight; and two at
    least, as one runs dry between its chunks. The number of trials has no part in it, so that more
    of them extend a study.

    Args:
        rows: Requests that the engine decodes together.
        problems: Of the search.
    """
    wanted = math.ceil(PROBLEMS_PER_ROW * rows / problems)
    return min(max(wanted, FEWEST_IN_FLIGHT), MOST_IN_FLIGHT)
