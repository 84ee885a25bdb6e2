"""A finished run beside the numbers of a paper.

``python -m snakesteer.published results/sinii-qwen2.5-1.5b sinii-qwen2.5-1.5b`` says for each
number whether the run came within its tolerance; the exit status is 0 only if all did. The numbers,
their sources and tolerances are in config/published/expected.json, by the overlays' names.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from snakesteer.data.problem import NUMBER, number_of
from snakesteer.errors import UserError
from snakesteer.records.cli import path_argument, run_command
from snakesteer.records.files import read_json, read_jsonl
from snakesteer.report.wording import signed

EXPECTED = Path(__file__).parents[1] / "config" / "published" / "expected.json"
# A run's names for what papers report.
_SIDES = {"unsteered": "baseline", "steered": "steered"}
_IN_BOX = re.compile(rf"[^}}\n\d]*?{NUMBER}")


@dataclass(frozen=True)
class Met:
    """A published number and the run's own: percent, or tokens of an answer.

    Attributes:
        side: ``unsteered`` or ``steered``.
        graded: ``numeric``, as a run is graded, ``boxed``, see `boxed_number`, or ``tokens`` for
            the mean length of the answers.
        published: As the paper has it.
        tolerance: How far off a run may be.
        found: What the run has.
    """

    side: str
    graded: str
    published: float
    tolerance: float
    found: float

    @property
    def within(self) -> bool:
        """Whether the run came close enough."""
        return abs(self.found - self.published) <= self.tolerance

    def __str__(self) -> str:
        lengths = self.graded == "tokens"
        decimals, unit, apart = (0, "", "tokens") if lengths else (2, "%", "points")
        return (
            f"{self.side} ({self.graded}): {self.found:.{decimals}f}{unit}, published "
            f"{self.published:.{decimals}f}{unit} ± {self.tolerance:g}: "
            f"{'within' if self.within else 'NOT within'} "
            f"({signed(self.found - self.published, decimals)} {apart})"
        )


def beside_published(results: str | Path, name: str) -> list[Met]:
    """Compare a finished run with a paper.

    Args:
        results: The run's results folder.
        name: Of the overlay in config/published/, without its ending.

    Raises:
        UserError: There is no such name, or the run is of another model or is not finished.
    """
    known = read_json(EXPECTED)
    if name not in known:
        raise UserError(f"No published numbers are named {name!r}", f"Known: {', '.join(known)}.")
    final = read_json(Path(results) / "test_final.json")
    model = final["config"]["model"]["name"]
    if model != known[name]["model"]:
        raise UserError(
            f"{results} is a run of {model}, but the numbers of {name} are of "
            f"{known[name]['model']}",
            f"Run snakemake --configfile config/published/{name}.yaml and name its results folder.",
        )
    rows = read_jsonl(Path(results) / "test_generations.jsonl")
    found = []
    for side, ours in _SIDES.items():
        number = known[name][side]
        if number["graded"] == "boxed":
            accuracy = boxed_accuracy(rows, ours)
        else:
            accuracy = final[f"{ours}_benchmark_metrics"]["accuracy"]
        terms = (number["graded"], number["accuracy"], number["tolerance"])
        found.append(Met(side, *terms, 100.0 * accuracy))
        if "tokens" in number:
            mean, tolerance = number["tokens"]["mean"], number["tokens"]["tolerance"]
            ours_mean = final[f"{ours}_benchmark_metrics"]["mean_new_tokens"]
            found.append(Met(side, "tokens", mean, tolerance, ours_mean))
    return found


def boxed_accuracy(rows: Sequence[dict[str, Any]], side: str) -> float:
    r"""Share of answers whose last ``\boxed{}`` holds the right number.

    Args:
        rows: Of test_generations.jsonl.
        side: ``baseline`` or ``steered``.
    """
    return sum(boxed_number(row[f"{side}_text"]) == Decimal(row["gold"]) for row in rows) / len(
        rows
    )


def boxed_number(text: str) -> Decimal | None:
    r"""The first number in the last ``\boxed{}``; None without one, however right the text is."""
    match = _IN_BOX.match(text.rpartition(r"\boxed{")[2]) if r"\boxed{" in text else None
    return number_of(match) if match else None


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m snakesteer.published",
        description="Compare a finished run with the numbers that a paper reports.",
    )
    parser.add_argument("results", type=path_argument, help="results folder of the run")
    parser.add_argument("name", help="overlay in config/published/, without its ending")
    given = parser.parse_args()
    found = beside_published(given.results, given.name)
    for number in found:
        print(number)
    return 0 if all(number.within for number in found) else 1


if __name__ == "__main__":
    run_command(main)
