"""Runs that answered the same test problems side by side: what `snakesteer.compare` shows."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from snakesteer.errors import UserError
from snakesteer.records.files import atomic_path, read_json
from snakesteer.report.wording import p_number, percent, points, points_interval
from snakesteer.study.rows import RunRow, comparisons_of, judged, run_row, terms_of


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
    rows = [run_row(str(folder), final) for folder, final in zip(folders, finals, strict=True)]
    order = list(dict.fromkeys(row.model for row in rows))
    rows.sort(key=lambda row: order.index(row.model))
    comparisons = comparisons_of(finals, ["the same test problems"] * len(finals))
    return RunTable(judged(rows, comparisons), finals[0]["confidence"], comparisons)


def _terms(folder: str | Path, final: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must have in common, by the name that a reader is told."""
    test = read_json(Path(folder) / "splits" / "manifest.json")["splits"]["test"]
    return {"the test problems": sorted(test["question_sha256"]), **terms_of(final)}


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
