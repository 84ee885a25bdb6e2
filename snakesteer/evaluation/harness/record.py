"""What tasks say of both sides: metrics of the same documents, compared in pairs."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakesteer.config import EvaluationConfig
from snakesteer.evaluation.second_task import compare_outcomes
from snakesteer.evaluation.statistics import paired_bootstrap

# Resamples where a metric is no mean; the harness, too, takes a hundred of those that are slow.
_RESAMPLES, _FEW_RESAMPLES = 1000, 100
_SLOW = ("bleu", "chrf", "ter")

LoggedRows = Sequence[Mapping[str, Any]]
Aggregate = Callable[[Sequence[Any]], float]


def pairs_of(
    samples: tuple[LoggedRows, LoggedRows],
) -> dict[tuple[str, str], tuple[list[Any], list[Any]]]:
    """Metric and filter → what each document has of it, on either side.

    Args:
        samples: Logged samples of a task without and with steering, in the same order.
    """
    found: dict[tuple[str, str], tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for before, after in zip(*samples, strict=True):
        for metric in before["metrics"]:
            sides = found[metric, before["filter"]]
            sides[0].append(before[metric])
            sides[1].append(after[metric])
    return dict(found)


def compare_metric(
    metric: str,
    values: tuple[Sequence[Any], Sequence[Any]],
    aggregate: Aggregate,
    evaluation: EvaluationConfig,
) -> dict[str, Any]:
    """A metric on either side and the difference.

    Args:
        metric: Its name.
        values: Of each document, without and with steering.
        aggregate: What the harness makes of such values.
        evaluation: Of the statistics.

    Returns:
        ``baseline``, ``steered``, ``difference`` with ``difference_ci``, a bootstrap over
        documents; ``mcnemar`` and ``verdict`` where each document is right or wrong. None stands
        for what is not finite.
    """
    before, after = (float(aggregate(side)) for side in values)
    told = {"baseline": _finite(before), "steered": _finite(after)}
    if not np.isfinite([before, after]).all():
        return {**told, "difference": None, "difference_ci": None}
    if not _is_mean(values[0], before) or not _is_mean(values[1], after):
        low, high = _resampled(metric, values, aggregate, evaluation)
        return {**told, "difference": after - before, "difference_ci": [low, high]}
    unsteered, steered = (np.asarray(side, dtype=np.float64) for side in values)
    if np.isin([unsteered, steered], (0.0, 1.0)).all():
        found = compare_outcomes(unsteered, steered, evaluation)
        kept = ("difference", "difference_ci", "mcnemar", "verdict")
        return {**told, **{key: found[key] for key in kept}}
    settings = (evaluation.bootstrap_resamples, evaluation.confidence, evaluation.seed)
    interval = paired_bootstrap(unsteered, steered, *settings)
    ends = [interval.low, interval.high]
    return {**told, "difference": interval.estimate, "difference_ci": ends}


def _is_mean(values: Sequence[Any], found: float) -> bool:
    """Whether an aggregate is the mean of numbers."""
    numbers = all(isinstance(value, int | float | np.number | np.bool_) for value in values)
    return numbers and bool(np.isclose(np.mean(values), found, rtol=1e-9, atol=1e-12))


def _resampled(
    metric: str,
    values: tuple[Sequence[Any], Sequence[Any]],
    aggregate: Aggregate,
    evaluation: EvaluationConfig,
) -> tuple[float, float]:
    """Percentile interval of the difference, over resampled documents."""
    rng = np.random.default_rng(evaluation.seed)
    n = len(values[0])
    differences = []
    for _ in range(_FEW_RESAMPLES if metric in _SLOW else _RESAMPLES):
        drawn: NDArray[np.int64] = rng.integers(n, size=n)
        before, after = (aggregate([side[index] for index in drawn]) for side in values)
        differences.append(after - before)
    tail = (1.0 - evaluation.confidence) / 2.0
    low, high = np.quantile(differences, [tail, 1.0 - tail])
    return float(low), float(high)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
