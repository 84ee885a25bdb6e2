"""Runs for the report's tests, written once, and a browser."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from snakesteer.report.evidence import Evidence
from snakesteer.report.figures.all import grid_figures, make_figures
from snakesteer.report.figures.figure import Figure
from snakesteer.report.methods_text import methods_text, references
from snakesteer.report.page import render_page
from tests.unit.report.browser import Browser
from tests.unit.report.runs import HOSTILE, write_run

RUNS = {
    "left alone": {"trials": 8},
    "helps": {"gain": 0.24},
    "on a grid": {"gain": 0.24, "on_grid": True},
    "hostile": {"gain": 0.24, "hostile": HOSTILE},
    "two trials": {"trials": 2},
    "two objectives": {"gain": 0.24, "budget": 0.15},
}


@dataclass(frozen=True)
class Report:
    """A report and what it was made from."""

    evidence: Evidence
    figures: dict[str, Figure]
    html: str
    path: Path


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory):
    """A function from the name of a run to its report."""
    folder = tmp_path_factory.mktemp("reports")
    made: dict[str, Report] = {}

    def make(name: str) -> Report:
        if name not in made:
            evidence = write_run(folder / name, **RUNS[name]).evidence()
            figures = make_figures(evidence) | grid_figures(evidence)
            methods = methods_text(evidence)
            html = render_page(evidence, figures, methods, references(methods))
            path = folder / f"{name}.html"
            path.write_text(html, encoding="utf-8")
            made[name] = Report(evidence, figures, html, path)
        return made[name]

    return make


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """Chromium; skips where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with Browser(path, tmp_path_factory.mktemp("browser")) as browser:
        yield browser
