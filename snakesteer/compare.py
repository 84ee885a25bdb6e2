"""Several finished runs side by side, in one table and one figure.

``python -m snakesteer.compare results/base results/tuned --output comparison`` writes compare.csv,
compare.md, compare.svg and compare.png.
"""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import vl_convert

from snakesteer.records.cli import path_argument, run_command
from snakesteer.records.files import atomic_path, write_text
from snakesteer.report.figures.style import PNG_SCALE
from snakesteer.report.wording import points
from snakesteer.study.comparison import (
    RunTable,
    adjusted_for,
    as_markdown,
    table_of_runs,
    write_csv,
)
from snakesteer.study.comparison_figure import run_table_spec


def compare_runs(folders: Sequence[str | Path], output: str | Path) -> RunTable:
    """Compare runs and write table and figure.

    Args:
        folders: Results folders, see `table_of_runs`.
        output: Folder for compare.csv, compare.md, compare.svg and compare.png.

    Returns:
        The table.

    Raises:
        UserError: See `table_of_runs`.
    """
    table = table_of_runs(folders)
    output = Path(output)
    spec = run_table_spec(table.rows, table.confidence)
    write_csv(output / "compare.csv", table.rows)
    write_text(output / "compare.md", as_markdown(table))
    write_text(output / "compare.svg", str(vl_convert.vegalite_to_svg(spec)))
    with atomic_path(output / "compare.png") as temporary:
        temporary.write_bytes(bytes(vl_convert.vegalite_to_png(spec, scale=PNG_SCALE)))
    return table


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m snakesteer.compare",
        description="Put several finished runs into one table and one figure. They must share "
        "test problems and grader.",
    )
    parser.add_argument(
        "results", nargs="+", type=path_argument, help="results folders of finished runs"
    )
    parser.add_argument("--output", required=True, type=path_argument, help="folder to write to")
    given = parser.parse_args()
    table = compare_runs(given.results, given.output)
    for model, group in groupby(table.rows, lambda row: row.model):
        print(model)
        for row in group:
            print(f"  {row.results}: {row.choice}; {points(row.difference)}; {row.verdict}")
    print(f"p-values are {adjusted_for(table)}.")
    print(f"Details: {Path(given.output) / 'compare.md'}")
    return 0


if __name__ == "__main__":
    run_command(main)
