"""The command that compares runs, and its figure."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snakesteer.compare import compare_runs
from snakesteer.report.figures.style import BLUE, GREEN, VERMILION
from snakesteer.study.comparison import table_of_runs
from snakesteer.study.comparison_figure import run_table_spec
from tests.unit.study.test_comparison import write_run

CHECKOUT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    return [
        write_run(results / "a", model="some/base"),
        write_run(results / "b", model="some/tuned", alpha=-2.0, difference=-0.1),
        write_run(
            results / "c",
            model="some/base",
            alpha=0.5,
            difference=0.0,
            p=1.0,
            equivalence=0.01,
            recommendation="leave alone",
        ),
    ]


def test_all_files_are_written(folders, tmp_path):
    rows = compare_runs(folders, tmp_path / "out").rows
    assert [row.verdict for row in rows] == ["helps", "equivalent", "hurts"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"compare.csv", "compare.md", "compare.svg", "compare.png"}
    svg = (tmp_path / "out" / "compare.svg").read_text(encoding="utf-8")
    told = re.sub(r"<[^>]*>", " ", svg)
    for text in (
        "some/base",
        "some/tuned",
        "results/a",
        "results/b",
        "α = 0.5 (dose 0.05)",
        "95% interval",
    ):
        assert text in told, text
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(PNG)


def test_the_figure_has_a_panel_for_each_model_on_one_scale(folders):
    table = table_of_runs(folders)
    spec = run_table_spec(table.rows, table.confidence)
    assert [panel["title"]["text"] for panel in spec["vconcat"]] == ["some/base", "some/tuned"]
    estimates, domains, colours = [], [], []
    for panel in spec["vconcat"]:
        _, intervals, _ = panel["layer"]
        estimates.append([row["value"] for row in intervals["data"]["values"]])
        colours += [row["colour"] for row in intervals["data"]["values"]]
        domains.append(intervals["encoding"]["x"]["scale"]["domain"])
    assert estimates == [[10.0, 0.0], [-10.0]]
    assert colours == [BLUE, GREEN, VERMILION]
    assert domains[0] == domains[1]
    low, high = domains[0]
    assert low < -15.0 < 15.0 < high


def test_the_command(folders, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "snakesteer.compare", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    done = run(*folders, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"{folders[1]}: caa with the caa direction at layer 9, α = -2" in done.stdout
    assert "−10.0 points; hurts" in done.stdout
    assert "\np-values are adjusted over the 3 (Holm 1979).\n" in done.stdout
    assert done.stdout.endswith(f"Details: {tmp_path / 'out' / 'compare.md'}\n")
    done = run(folders[0], tmp_path / "missing", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
