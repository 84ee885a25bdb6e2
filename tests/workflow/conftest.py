"""One finished run for all tests: it takes a minute, and most tests only look at it."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.project import Project, Run, make_project


@dataclass(frozen=True)
class Finished:
    """A finished project and what Snakemake said.

    Attributes:
        project: Do not write to it; copy it.
        search: The run up to best_config.json, while there was no test part at all.
        rest: The rest of the run.
    """

    project: Project
    search: Run
    rest: Run


def shared_folder(request: pytest.FixtureRequest, name: str) -> Path:
    """A folder that all processes of this session share."""
    base = request.getfixturevalue("tmp_path_factory").getbasetemp()
    return (base.parent if hasattr(request.config, "workerinput") else base) / name


@pytest.fixture(scope="session")
def fresh(request: pytest.FixtureRequest) -> Project:
    """A project in which nothing was run yet. Do not write to it; copy it."""
    folder = shared_folder(request, "fresh ü") / "a project"
    with FileLock(f"{folder.parent}.lock"):
        return Project(folder) if folder.exists() else make_project(folder)


@pytest.fixture(scope="session")
def finished(request: pytest.FixtureRequest, fresh: Project) -> Finished:
    """A project that was run to its end, in a folder with a blank and a letter beyond ASCII."""
    folder = shared_folder(request, "finished ü")
    project = Project(folder / "a project")
    said = [folder / "search.txt", folder / "rest.txt"]
    with FileLock(f"{folder}.lock"):
        if not said[-1].exists():
            _run_to_the_end(fresh.copy(project.folder), said)
    search, rest = (Run(0, path.read_text(encoding="utf-8")) for path in said)
    return Finished(project, search, rest)


def _run_to_the_end(project: Project, said: list[Path]) -> None:
    test = project.folder / "problems" / "test.jsonl"
    hidden = test.rename(test.with_name("later.jsonl"))
    for targets, path in zip((["study"], []), said, strict=True):
        run = project.snakemake(*targets, "--cores", "4", "--resources", "gpu=1")
        assert run.code == 0, run.text
        path.write_text(run.text, encoding="utf-8")
        if hidden.exists():
            hidden.rename(test)


@pytest.fixture
def fresh_copy(fresh: Project, tmp_path: Path) -> Project:
    """A project of the test's own in which nothing was run yet."""
    return fresh.copy(tmp_path / "ein Möbel")


@pytest.fixture
def finished_copy(finished: Finished, tmp_path: Path) -> Project:
    """A finished project of the test's own."""
    return finished.project.copy(tmp_path / "ein Möbel")
