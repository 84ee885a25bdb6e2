"""The report of a whole run, and Snakemake's own."""

import os
from pathlib import Path

import pytest

from tests.workflow.conftest import Finished

pytestmark = pytest.mark.workflow

FIGURES = ("accuracy", "difference", "dose", "layer_dose", "history", "importance", "probes")


def test_a_run_ends_with_a_report(finished: Finished):
    results = finished.project.results
    page = (results / "report.html").read_text(encoding="utf-8")
    for name in FIGURES:
        assert f'id="figure-{name}"' in page
        assert (results / "figures" / f"{name}.svg").read_text(encoding="utf-8").startswith("<svg")
        assert (results / "figures" / f"{name}.png").stat().st_size > 1000
    methods = (results / "methods.md").read_text(encoding="utf-8")
    assert "tiny model" in methods
    assert "12 train, 8 validation and 8 test problems" in methods
    assert "@article{mcnemar1947," in (results / "references.bib").read_text(encoding="utf-8")
    assert "Zero steering is the baseline" in page
    assert str(Path.cwd()) not in page


def test_it_is_made_again_byte_for_byte(finished: Finished, tmp_path: Path):
    project = finished.project.copy(tmp_path / "again")
    made = [*(project.results / "figures").iterdir(), project.results / "report.html"]
    before = {path: path.read_bytes() for path in made}
    run = project.snakemake("results/report.html", "--forcerun", "report")
    assert run.code == 0, run.text
    assert run.jobs == {"report": 1}
    assert {path: path.read_bytes() for path in made} == before


def test_snakemakes_own_report_needs_no_network(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
        monkeypatch.setitem(os.environ, name.upper(), "http://127.0.0.1:9")
    page = tmp_path / "snakemake.html"
    run = finished.project.snakemake("--report", str(page))
    assert run.code == 0, run.text
    text = page.read_text(encoding="utf-8")
    for part in ("the whole report", "accuracy on the test split", "trials.csv"):
        assert part in text
