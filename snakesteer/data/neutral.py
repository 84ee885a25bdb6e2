"""Neutral text that comes with the library: short passages of plain English about everyday things.

They were written for this purpose, under the library's licence, and hold no calculations.
"""

from pathlib import Path


def read_passages(path: str | Path) -> list[str]:
    """Passages of a text file, set apart by blank lines."""
    return Path(path).read_text(encoding="utf-8").strip().split("\n\n")
