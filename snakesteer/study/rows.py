"""What a finished run found, as a row beside others: read off its files, judged among its likes.

Every run keeps its own paired test; as one of many is likelier to look good by chance, their
p-values are adjusted together, and for what else was answered on the same test splits.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from statsmodels.stats.multitest import multipletests

from snakesteer.evaluation.statistics import Interval, verdict
from snakesteer.records.ledger import count_reads
from snakesteer.report.wording import configuration, model_name


@dataclass(frozen=True)
class RunRow:
    """A run in the table; accuracies and differences are fractions.

    Attributes:
        model: Its name.
        results: The results folder.
        choice: What was tested, in words; then the same in columns.
        method: Steering method.
        direction: Of the vector.
        layer: 0-based block.
        steering_alpha: Its α.
        steering_dose: The same in mean residual norms.
        validation_unsteered: Accuracy on the validation split.
        validation_steered: The same with the choice.
        recommendation: What validation says to do.
        n: Test problems.
        baseline: Accuracy on the test split, unsteered.
        steered: The same with the choice.
        difference: Steered − baseline.
        low: Of the paired bootstrap interval.
        high: Of the interval.
        gained: Problems better with steering.
        lost: Problems worse with steering.
        p_value: Of the run's own test.
        margin: The largest difference that is equivalent.
        equivalence_p: Of the test of that.
        confidence: Of the interval; 1 − confidence is the level of the tests.
        p_holm: `p_value`, adjusted over all runs that are judged together (Holm 1979).
        verdict: In one word, from `p_holm`.
    """

    model: str
    results: str
    choice: str
    method: str
    direction: str
    layer: int
    steering_alpha: float
    steering_dose: float
    validation_unsteered: float
    validation_steered: float
    recommendation: str
    n: int
    baseline: float
    steered: float
    difference: float
    low: float
    high: float
    gained: int
    lost: int
    p_value: float
    margin: float
    equivalence_p: float
    confidence: float
    p_holm: float = 1.0
    verdict: str = "inconclusive"


def run_row(folder: str, final: Mapping[str, Any]) -> RunRow:
    """A run's row, not yet judged among others.

    Args:
        folder: Its results folder, as the reader knows it.
        final: Its test_final.json.
    """
    best, test = final["best_trial_params"], final["mcnemar"]
    low, high = final["accuracy_improvement_ci"]
    return RunRow(
        model=model_name(final["config"]["model"]),
        results=folder,
        choice=configuration(best),
        method=best["steering_method"],
        direction=best["steering_direction"],
        layer=best["layer_id"],
        steering_alpha=best["steering_alpha"],
        steering_dose=best["steering_dose"],
        validation_unsteered=final["baseline_validation_score"],
        validation_steered=final["best_validation_score"],
        recommendation=final["recommendation"],
        n=final["num_test_samples"],
        baseline=final["baseline_benchmark_metrics"]["accuracy"],
        steered=final["steered_benchmark_metrics"]["accuracy"],
        difference=final["accuracy_improvement"],
        low=low,
        high=high,
        gained=test["gained"],
        lost=test["lost"],
        p_value=test["p_value"],
        margin=final["equivalence"]["margin"],
        equivalence_p=final["equivalence"]["p_value"],
        confidence=final["confidence"],
    )


def terms_of(final: Mapping[str, Any]) -> dict[str, Any]:
    """What runs that are judged together must have in common, by the name that a reader is told."""
    metrics = final["baseline_benchmark_metrics"]
    return {
        "the grader (evaluation_method)": metrics["evaluation_method"],
        "the confidence of the intervals": final["confidence"],
        "the margin of equivalence": final["equivalence"]["margin"],
        "the answers per problem": metrics["total_samples"] / final["num_test_samples"],
    }


def judged(rows: Sequence[RunRow], comparisons: int) -> list[RunRow]:
    """Rows with p-values adjusted together (Holm 1979), and verdicts from those.

    Args:
        rows: The runs.
        comparisons: How many to adjust for, see `comparisons_of`.
    """
    adjusted = holm([row.p_value for row in rows], comparisons)
    return [
        replace(
            row,
            p_holm=p_holm,
            verdict=verdict(
                Interval(row.difference, row.low, row.high),
                p_holm,
                row.equivalence_p,
                row.confidence,
            ),
        )
        for row, p_holm in zip(rows, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float], comparisons: int) -> list[float]:
    """P-values adjusted together (Holm 1979).

    Comparisons that are not among them count as p = 1, which is never too lenient: whatever they
    were, smaller ones would have let Holm's procedure reject at least as much here.
    """
    if not p_values:
        return []
    unseen = [1.0] * (comparisons - len(p_values))
    adjusted = multipletests([*p_values, *unseen], method="holm")[1]
    return [float(p) for p in adjusted[: len(p_values)]]


def comparisons_of(finals: Sequence[Mapping[str, Any]], splits: Sequence[Hashable]) -> int:
    """How many configurations were tested: by these runs, or by now by others on their splits.

    Args:
        finals: Their test_final.json.
        splits: Of each the test problems, or whatever else tells test splits apart.
    """
    by_split: dict[Hashable, list[int]] = {}
    for final, split in zip(finals, splits, strict=True):
        by_split.setdefault(split, []).append(_configurations(final))
    return sum(max(len(counts), *counts) for counts in by_split.values())


def _configurations(final: Mapping[str, Any]) -> int:
    """Configurations that the test split was read for: when the run was made, or by now."""
    then = final["test_reads"]
    now = count_reads(then["ledger"])  # nothing where the ledger is not here
    return max(int(counts["final"]["configurations"]) for counts in (then, now))
