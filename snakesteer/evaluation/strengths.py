"""What sensitivity.csv says."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WORDS = ("method", "direction")
COUNTS = ("layer", "n", "correct")


def read_strengths(path: str | Path) -> list[dict[str, Any]]:
    """The rows of sensitivity.csv."""
    with Path(path).open(encoding="utf-8", newline="") as stream:
        return [
            {name: _value(name, text) for name, text in row.items()}
            for row in csv.DictReader(stream)
        ]


def _value(name: str, text: str) -> str | int | float:
    if name in WORDS:
        return text
    return int(text) if name in COUNTS else float(text)


def in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the best strength lies, and whether no steering is as good.

    As in the search's choice, accuracies within one binomial standard error of the best count as
    equals, and of equally accurate strengths the smallest dose is named.

    Args:
        rows: Of sensitivity.csv.
    """
    best = max(rows, key=lambda row: (row["accuracy"], -abs(row["dose"])))
    top, n = best["accuracy"], best["n"]
    unsteered = next(row["accuracy"] for row in rows if row["alpha"] == 0.0)
    if best["alpha"] == 0.0:
        return f"No strength does better than none ({top:.1%} of {n} validation problems): α ≈ 0."
    error = math.sqrt(top * (1.0 - top) / n)
    text = (
        f"The best strength is α = {best['alpha']:.3g} (dose {best['dose']:.3g}), "
        f"{best['method']} with the {best['direction']} direction at layer {best['layer']}: "
        f"{top:.1%} of {n} validation problems, {unsteered:.1%} unsteered, "
    )
    if unsteered >= top - error:
        return text + f"which is within one standard error ({error:.1%}): best α ≈ 0."
    return text + f"which is more than one standard error ({error:.1%}) below."
