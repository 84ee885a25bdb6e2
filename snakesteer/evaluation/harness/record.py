"""What tasks say of both sides: metrics of the same documents, compared in pairs."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakesteer.config import EvaluationConfig
from snakesteer.errors import UserError
from snakesteer.evaluation.second_task import compare_outcomes
from snakesteer.evaluation.statistics import finite_or_none, paired_bootstrap

# Resamples where a metric is no mean; the harness, too, takes a hundred of those that are slow.
_RESAMPLES, _FEW_RESAMPLES = 1000, 100
_SLOW = ("bleu", "chrf", "ter")
_TURNED = {"helps": "hurts", "hurts": "helps"}

LoggedRows = Sequence[Mapping[str, Any]]
Aggregate = Callable[[Sequence[Any]], float]


def pairs_of(
    task: str,
    samples: tuple[LoggedRows, LoggedRows],
) -> dict[tuple[str, str], tuple[list[Any], list[Any]]]:
    """Metric and filter → what each document has of it, on either side.

    Args:
        task: Its name.
        samples: Logged samples of the task without and with steering, in the same order.

    Raises:
        UserError: They are of different documents or prompts.
    """
    found: dict[tuple[str, str], tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for before, after in zip(*samples, strict=True):
        if any(before[key] != after[key] for key in ("doc_hash", "prompt_hash")):
            raise UserError(
                f"The task {task} of lm-evaluation-harness asks something else each time, so that "
                "answers with and without steering cannot be compared",
                f"Take {task} out of off_target.harness_tasks.",
            )
        # Some tasks leave out a metric by what was answered.
        for metric in (one for one in before["metrics"] if one in after["metrics"]):
            sides = found[metric, before["filter"]]
            sides[0].append(before[metric])
            sides[1].append(after[metric])
    return dict(found)


def compare_metric(
    metric: str,
    values: tuple[Sequence[Any], Sequence[Any]],
    aggregate: Aggregate,
    evaluation: EvaluationConfig,
    less_is_better: bool = False,
) -> dict[str, Any]:
    """A metric on either side and the difference.

    Args:
        metric: Its name.
        values: Of each document, without and with steering.
        aggregate: What the harness makes of such values.
        evaluation: Of the statistics.
        less_is_better: Whether a smaller value is better.

    Returns:
        ``baseline``, ``steered``, ``difference`` with ``difference_ci``, a bootstrap over
        documents; ``mcnemar`` and ``verdict`` where each document is right or wrong. None stands
        for what is not finite, and for an interval where some draws have no value.
    """
    before, after = (_aggregated(aggregate, side) for side in values)
    told = {"baseline": finite_or_none(before), "steered": finite_or_none(after)}
    if not np.isfinite([before, after]).all():
        return {**told, "difference": None, "difference_ci": None}
    if not _is_mean(values[0], before) or not _is_mean(values[1], after):
        drawn = _resampled(metric, values, aggregate, evaluation)
        return {**told, "difference": after - before, "difference_ci": drawn}
    unsteered, steered = (np.asarray(side, dtype=np.float64) for side in values)
    if np.isin([unsteered, steered], (0.0, 1.0)).all():
        found = compare_outcomes(unsteered, steered, evaluation)
        if less_is_better:
            found["verdict"] = _TURNED.get(found["verdict"], found["verdict"])
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
) -> list[float] | None:
    """Percentile interval of the difference, over resampled documents; None without values."""
    rng = np.random.default_rng(evaluation.seed)
    n = len(values[0])
    differences = []
    for _ in range(_FEW_RESAMPLES if metric in _SLOW else _RESAMPLES):
        drawn: NDArray[np.int64] = rng.integers(n, size=n)
        before, after = (
            _aggregated(aggregate, [side[index] for index in drawn]) for side in values
        )
        differences.append(after - before)
    if not np.isfinite(differences).all():
        return None
    tail = (1.0 - evaluation.confidence) / 2.0
    low, high = np.quantile(differences, [tail, 1.0 - tail])
    return [float(low), float(high)]


def _aggregated(aggregate: Aggregate, values: Sequence[Any]) -> float:
    """NaN where there is no value: of a draw without anything to divide by, say."""
    try:
        return float(aggregate(values))
    except (ArithmeticError, ValueError):
        return math.nan
