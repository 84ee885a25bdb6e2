"""Several finished runs in one table: models, methods, layers and doses.

Every run keeps its own paired test; as one of many is likelier to look good by chance, their
p-values are adjusted together, and for what else was answered on the same test split.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from statsmodels.stats.multitest import multipletests

from snakesteer.errors import UserError
from snakesteer.evaluation.statistics import Interval, verdict
from snakesteer.records.files import atomic_path, read_json
from snakesteer.records.ledger import count_reads
from snakesteer.report.wording import (
    configuration,
    model_name,
    p_number,
    percent,
    points,
    points_interval,
)


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
        p_holm: `p_value`, adjusted over all runs of the table (Holm 1979).
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
    p_holm: float = 1.0
    verdict: str = "inconclusive"


@dataclass(frozen=True)
class RunTable:
    """Finished runs that may stand in one table.

    Attributes:
        rows: Those of a model together.
        confidence: Of their intervals.
        comparisons: How many p-values are adjusted for: one for every run, or for every
            configuration that was read on the test split, if these are more.
    """

    rows: list[RunRow]
    confidence: float
    comparisons: int


def table_of_runs(folders: Sequence[str | Path]) -> RunTable:
    """Read finished runs that may stand in one table.

    Args:
        folders: Results folders, in the order of the table within a model.

    Raises:
        UserError: A run is not finished, named twice, or not comparable with the first: other test
            problems, another grader, other intervals, another margin, another number of answers
            per problem.
    """
    resolved = [Path(folder).resolve() for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise UserError(f"{folder} is named twice", "Name every run once.")
    finals = [read_json(Path(folder) / "test_final.json") for folder in folders]
    first = _terms(folders[0], finals[0])
    for folder, final in zip(folders, finals, strict=True):
        different = [name for name, value in _terms(folder, final).items() if value != first[name]]
        if different:
            raise UserError(
                f"{folder} cannot be compared with {folders[0]}: {', '.join(different)} differ",
                "Run both with the same data and evaluation sections, or compare each with its "
                "likes.",
            )
    rows = [_row(str(folder), final) for folder, final in zip(folders, finals, strict=True)]
    order = list(dict.fromkeys(row.model for row in rows))
    rows.sort(key=lambda row: order.index(row.model))
    confidence = finals[0]["confidence"]
    comparisons = max(len(rows), *map(_configurations, finals))
    return RunTable(judged(rows, confidence, comparisons), confidence, comparisons)


def _configurations(final: Mapping[str, Any]) -> int:
    """Configurations that the test split was read for: when the run was made, or by now."""
    then = final["test_reads"]
    now = count_reads(then["ledger"])  # nothing where the ledger is not here
    return max(int(counts["final"]["configurations"]) for counts in (then, now))


def _terms(folder: str | Path, final: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must have in common, by the name that a reader is told."""
    test = read_json(Path(folder) / "splits" / "manifest.json")["splits"]["test"]
    metrics = final["baseline_benchmark_metrics"]
    return {
        "the test problems": sorted(test["question_sha256"]),
        "the grader (evaluation_method)": metrics["evaluation_method"],
        "the confidence of the intervals": final["confidence"],
        "the margin of equivalence": final["equivalence"]["margin"],
        "the answers per problem": metrics["total_samples"] / final["num_test_samples"],
    }


def _row(folder: str, final: Mapping[str, Any]) -> RunRow:
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
    )


def judged(rows: Sequence[RunRow], confidence: float, comparisons: int) -> list[RunRow]:
    """Rows with p-values adjusted together (Holm 1979), and verdicts from those.

    Comparisons that are not in the table count as p = 1, which is never too lenient: whatever they
    were, smaller ones would have let Holm's procedure reject at least as much here.
    """
    unseen = [1.0] * (comparisons - len(rows))
    adjusted = multipletests([*(row.p_value for row in rows), *unseen], method="holm")[1]
    return [
        replace(
            row,
            p_holm=float(p_holm),
            verdict=verdict(
                Interval(row.difference, row.low, row.high), p_holm, row.equivalence_p, confidence
            ),
        )
        for row, p_holm in zip(rows, adjusted[: len(rows)], strict=True)
    ]


def as_markdown(found: RunTable) -> str:
    """The table for a reader, with what the columns mean below it."""
    rows, confidence = found.rows, found.confidence
    heads = ["Model", "Run", "Tested", "α", "Recommended", "n", "Unsteered", "Steered"]
    heads += ["Difference", f"{confidence:.0%} interval", "p", "p (Holm)", "Verdict"]
    lines = ["# Comparison", "", _line(heads), _line(["---"] * len(heads))]
    for row in rows:
        lines.append(
            _line(
                [
                    row.model,
                    f"`{row.results}`",
                    row.choice,
                    f"{row.steering_alpha:.3g}",
                    row.recommendation,
                    str(row.n),
                    percent(row.baseline),
                    percent(row.steered),
                    points(row.difference),
                    points_interval((row.low, row.high)),
                    p_number(row.p_value),
                    p_number(row.p_holm),
                    row.verdict,
                ]
            )
        )
    lines += [
        "",
        f"All runs answered the same {rows[0].n} test problems. Intervals are paired bootstrap "
        f"intervals of one run each; p-values are the runs' own paired tests, "
        f"{adjusted_for(found)}, and *helps* and *hurts* follow the adjusted ones. *Equivalent* "
        f"is within {100.0 * rows[0].margin:g} points. Every run tests its best steered trial, "
        "whatever its validation split recommends. In the figure blue helps, orange hurts, green "
        "is equivalent, grey inconclusive.",
    ]
    return "\n".join(lines) + "\n"


def adjusted_for(found: RunTable) -> str:
    """What the p-values are adjusted for, in words."""
    count = found.comparisons
    if count == len(found.rows):
        return f"adjusted over the {count} (Holm 1979)"
    return (
        f"adjusted over the {count} configurations that the ledger of test reads has for these "
        "problems, those of other runs among them (Holm 1979)"
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_csv(path: Path, rows: Sequence[RunRow]) -> None:
    """All columns with all digits, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, [field.name for field in fields(RunRow)])
        table.writeheader()
        table.writerows(map(asdict, rows))
