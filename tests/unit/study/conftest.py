"""Studies for the page's tests, written once, and the browser of the report's."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from snakesteer.study.runs import StudyRun
from snakesteer.study.summary import Summary, summarise, write_summary
from tests.unit.report.conftest import browser  # noqa: F401
from tests.unit.report.runs import HOSTILE
from tests.unit.study.studies import replicates, write_failed

HELPS = [
    {"gained": 22, "lost": 4, "vector": np.array([1.0, 0.2, 0.1])},
    {"gained": 20, "lost": 5, "vector": np.array([1.0, 0.0, 0.1]), "layer": 12},
    {"gained": 24, "lost": 3, "vector": np.array([0.9, 0.1, 0.3]), "dose": 0.15},
]
HURTS = [
    {"gained": 2, "lost": 17},
    {"gained": 4, "lost": 21, "recommendation": "leave alone"},
    {"gained": 3, "lost": 19},
]
OPEN = [{"gained": 8, "lost": 4}, {"gained": 2, "lost": 5}, {"gained": 6, "lost": 6}]


@dataclass(frozen=True)
class Page:
    """A study's page and what it was made from."""

    runs: list[StudyRun]
    found: Summary
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "report.html"

    @property
    def html(self) -> str:
        return self.path.read_text(encoding="utf-8")


def failed(folder: Path, group: str, hostile: str = "") -> StudyRun:
    results = write_failed(folder / "results" / "lost", words=f"ValueError: lost{hostile}")
    return StudyRun(f"{group}-lost", group, results, {"search.seed": 9})


def one_group(folder: Path) -> list[StudyRun]:
    return replicates(folder / "results", "base", HELPS)


def claims(folder: Path) -> list[StudyRun]:
    """Base and tuned models under two methods, with what is predicted, and one that failed."""
    results = folder / "results"
    tuned = [{**each, "model": "some/tuned"} for each in OPEN]
    return [
        *replicates(results, "base, caa", HELPS, predicts="helps"),
        *replicates(results, "base, dac", HURTS, predicts="no effect"),
        *replicates(results, "tuned, caa", tuned, predicts="α is near 0"),
        *replicates(results, "tuned, dac", tuned[:1], predicts="no effect"),
        failed(folder, "tuned, dac"),
    ]


def hostile(folder: Path) -> list[StudyRun]:
    """Names, predictions, models and last words that would be code."""
    given = [{**each, "hostile": HOSTILE} for each in HELPS]
    runs = replicates(folder / "results", "base", given, predicts=HOSTILE)
    runs = [replace(run, name=run.name + HOSTILE, group=HOSTILE) for run in runs]
    lost = failed(folder, "base", HOSTILE)
    return [*runs, replace(lost, group=HOSTILE, name=HOSTILE)]


def nothing(folder: Path) -> list[StudyRun]:
    return [failed(folder, "base")]


STUDIES = {"one group": one_group, "claims": claims, "hostile": hostile, "nothing": nothing}


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory):
    """A function from the name of a study to its page."""
    folder = tmp_path_factory.mktemp("studies")
    made: dict[str, Page] = {}

    def make(name: str) -> Page:
        if name not in made:
            home = folder / name.replace(" ", "_")
            runs = STUDIES[name](home)
            write_summary(runs, home / "runs.csv", home / "report.html", home / "figures")
            made[name] = Page(runs, summarise(runs), home)
        return made[name]

    return make
