"""Groups of replicates: pooled, judged among each other, held against what was claimed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from snakesteer.errors import UserError
from snakesteer.evaluation.equivalence import equivalence_p
from snakesteer.evaluation.statistics import Interval, verdict
from snakesteer.study.pooling import Floats, pool, table_of_differences
from snakesteer.study.rows import RunRow, holm, terms_of
from snakesteer.study.runs import FailedRun, FinishedRun, planned_model, varying
from snakesteer.study.stability import Stability, stability_of

Agreement = Literal["as predicted", "not as predicted", "open", "for the reader to judge"]

# What a claim may say in a word, and the verdict that would bear it out.
CLAIMS = {"helps": "helps", "hurts": "hurts", "no effect": "equivalent"}


@dataclass(frozen=True)
class Heterogeneity:
    """How replicates differ; variances of fractions, as in `snakesteer.study.pooling.Pooled`.

    Attributes:
        between: Variance of the effects of runs (τ²).
        own: Sampling variance of a run, without what all share.
        shared: Sampling covariance of two runs.
        q: Cochran's Q.
        q_p: Its p-value.
        i_squared: Share of the differences between runs that is no sampling error.
        low: Where the interval for one more run begins.
        high: Where it ends.
    """

    between: float
    own: float
    shared: float
    q: float
    q_p: float
    i_squared: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupResult:
    """What the finished runs of a group found together; of one run, what that run found.

    Attributes:
        n: Test problems of a run, smallest and largest number.
        problems: Different test problems over all runs.
        baseline: Mean unsteered accuracy.
        steered: Mean steered accuracy.
        difference: Mean difference.
        low: Where its interval begins.
        high: Where it ends.
        confidence: Of the interval.
        p_value: Of no effect on average.
        margin: The largest difference that is equivalent.
        equivalence_p: Of the tests of that.
        heterogeneity: None where there is but one run.
        stability: What the runs chose.
        seeds: Which seeds differ between the runs.
        p_holm: `p_value`, adjusted over all groups (Holm 1979).
        verdict: In one word, from `p_holm`.
    """

    n: tuple[int, int]
    problems: int
    baseline: float
    steered: float
    difference: float
    low: float
    high: float
    confidence: float
    p_value: float
    margin: float
    equivalence_p: float
    heterogeneity: Heterogeneity | None
    stability: Stability
    seeds: tuple[str, ...]
    p_holm: float = 1.0
    verdict: str = "inconclusive"


@dataclass(frozen=True, eq=False)
class Group:
    """Replicates.

    Attributes:
        name: Of the group.
        model: What they steer; empty where no run says.
        finished: Runs with a result.
        failed: Runs without.
        result: None where no run has one.
        predicts: What is claimed of them; empty without a claim.
    """

    name: str
    model: str
    finished: tuple[FinishedRun, ...]
    failed: tuple[FailedRun, ...]
    result: GroupResult | None
    predicts: str

    @property
    def agreement(self) -> Agreement | None:
        """Whether the verdict bears the claim out; None without a claim."""
        return agreement(self.predicts, self.result.verdict if self.result else "inconclusive")


def make_groups(
    finished: Sequence[FinishedRun], failed: Sequence[FailedRun], names: Sequence[str]
) -> list[Group]:
    """Groups in the order of their names, judged among each other.

    Args:
        finished: All runs with a result.
        failed: All without.
        names: Of all groups, each once.

    Raises:
        UserError: Two runs of a group are no replicates: another grader, margin or confidence.
    """
    groups = []
    for name in names:
        own = tuple(each for each in finished if each.run.group == name)
        without = tuple(each for each in failed if each.run.group == name)
        runs = [each.run for each in own] + [each.run for each in without]
        told = [str(run.table["predicts"]).strip() for run in runs if run.table.get("predicts")]
        models = [each.row.model for each in own]
        models += [planned_model(each) for each in without]
        groups.append(
            Group(
                name=name,
                model=next(filter(None, models), ""),
                finished=own,
                failed=without,
                result=result_of(own) if own else None,
                predicts="; ".join(dict.fromkeys(told)),
            )
        )
    return _judged(groups)


def result_of(runs: Sequence[FinishedRun]) -> GroupResult:
    """Pool the finished runs of a group; not yet judged among other groups.

    Raises:
        UserError: See `make_groups`.
    """
    _check_alike(runs)
    rows, first = [run.row for run in runs], runs[0].row
    table = table_of_differences([run.differences for run in runs])
    counts = [row.n for row in rows]
    return GroupResult(
        n=(min(counts), max(counts)),
        problems=table.shape[1],
        baseline=float(np.mean([row.baseline for row in rows])),
        steered=float(np.mean([row.steered for row in rows])),
        confidence=first.confidence,
        margin=first.margin,
        stability=stability_of(rows, [run.final["best_trial_params"] for run in runs]),
        seeds=tuple(varying([run.seeds for run in runs])),
        **(_alone(first) if len(runs) == 1 else _together(table, first)),
    )


def _alone(row: RunRow) -> dict[str, Any]:
    """Of one run: its own interval and tests."""
    kept = ("difference", "low", "high", "p_value", "equivalence_p")
    return {**{name: getattr(row, name) for name in kept}, "heterogeneity": None}


def _together(table: Floats, row: RunRow) -> dict[str, Any]:
    """Of several runs: pooled."""
    pooled = pool(table, row.confidence)
    # That few answers changed must not be taken for knowledge of other problems.
    by_problem = np.nanmean(table, axis=0)
    of_problems = equivalence_p(np.zeros_like(by_problem), by_problem, row.margin)
    return {
        "difference": float(pooled.effect),
        "low": float(pooled.low),
        "high": float(pooled.high),
        "p_value": float(pooled.p_value),
        "equivalence_p": max(float(pooled.equivalence(row.margin)), of_problems),
        "heterogeneity": Heterogeneity(
            between=float(pooled.between),
            own=float(pooled.own),
            shared=float(pooled.shared),
            q=float(pooled.q),
            q_p=float(pooled.q_p),
            i_squared=float(pooled.i_squared),
            low=float(pooled.prediction_low),
            high=float(pooled.prediction_high),
        ),
    }


def agreement(predicts: str, found: str) -> Agreement | None:
    """Whether a verdict bears a claim out; None without a claim.

    Args:
        predicts: ``helps``, ``hurts``, ``no effect``, or free text, which a reader must judge.
        found: The verdict.
    """
    if not predicts:
        return None
    wanted = CLAIMS.get(predicts.casefold())
    if wanted is None:
        return "for the reader to judge"
    if found == "inconclusive":
        return "open"
    return "as predicted" if found == wanted else "not as predicted"


def _judged(groups: Sequence[Group]) -> list[Group]:
    """Groups with p-values adjusted together, and verdicts from those."""
    p_values = [group.result.p_value for group in groups if group.result]
    adjusted = iter(holm(p_values, len(p_values)))
    return [
        replace(group, result=_judge(group.result, next(adjusted))) if group.result else group
        for group in groups
    ]


def _judge(result: GroupResult, p_holm: float) -> GroupResult:
    interval = Interval(result.difference, result.low, result.high)
    said = verdict(interval, p_holm, result.equivalence_p, result.confidence)
    return replace(result, p_holm=p_holm, verdict=said)


def _check_alike(runs: Sequence[FinishedRun]) -> None:
    first = runs[0]
    wanted = terms_of(first.final)
    for run in runs[1:]:
        found = terms_of(run.final)
        different = [name for name, value in found.items() if value != wanted[name]]
        if different:
            raise UserError(
                f"{run.run.name} and {first.run.name} are in one group ({first.run.group}), but "
                f"{', '.join(different)} differ",
                "Give them the same evaluation section, or groups of their own.",
            )
