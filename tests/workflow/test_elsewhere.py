"""The workflow from a folder that is not its own: by path, and as a module of somebody else's."""

import shutil
from pathlib import Path

import pytest

from tests.workflow.project import CHECKOUT, Project

pytestmark = pytest.mark.workflow

RUN = ("--cores", "4", "--resources", "gpu=1")
SNAKEFILE = """
configfile: "config/config.yaml"


module steering:
    snakefile:
        "{snakefile}"
    config:
        config
    prefix:
        "steered"


use rule * from steering as steering_*


rule mine:
    default_target: True
    input:
        "steered/results/best_config.json",
    output:
        "mine.json",
    shell:
        "cp {{input}} {{output}}"
"""


@pytest.fixture
def elsewhere(fresh: Project, tmp_path: Path) -> Project:
    """Model, problems and config of a project, and nothing of the workflow."""
    folder = tmp_path / "their project"
    for part in ("tiny model", "problems"):
        shutil.copytree(fresh.folder / part, folder / part)
    (folder / "config").mkdir()
    shutil.copy(fresh.folder / "config" / "config.yaml", folder / "config")
    return Project(folder)


def test_by_its_path(fresh: Project, elsewhere: Project):
    snakefile = str(fresh.folder / "Snakefile")
    run = elsewhere.snakemake("splits", *RUN, "-s", snakefile)
    assert run.code == 0, run.text
    assert (elsewhere.results / "splits" / "test.jsonl").exists()
    # From the workflow's own folder into this one.
    run = fresh.snakemake("splits", *RUN, "--directory", str(elsewhere.folder))
    assert run.idle, run.text
    # Without a config of its own, the workflow's.
    shutil.rmtree(elsewhere.folder / "config")
    run = elsewhere.snakemake("splits", "-n", "-s", snakefile)
    assert run.code == 0, run.text
    assert not (fresh.folder / "results").exists()


def test_as_a_module_with_a_prefix(fresh: Project, elsewhere: Project):
    text = SNAKEFILE.format(snakefile=fresh.folder / "Snakefile")
    (elsewhere.folder / "Snakefile").write_text(text)
    run = elsewhere.snakemake(*RUN)
    assert run.code == 0, run.text
    assert run.jobs["steering_search"] == 1
    made = elsewhere.folder / "steered" / "results"
    assert (elsewhere.folder / "mine.json").read_bytes() == (made / "best_config.json").read_bytes()
    assert (made / "study" / "journal.log").exists()  # beside the outputs, declared or not
    assert not elsewhere.results.exists()
    assert elsewhere.snakemake(*RUN).idle


def test_the_small_run_for_other_machines_is_planned(fresh: Project, tmp_path: Path):
    shutil.copytree(CHECKOUT / ".test", tmp_path / ".test")
    run = fresh.snakemake("-n", "--directory", str(tmp_path / ".test"))
    assert run.code == 0, run.text
    assert run.jobs["test_evaluation"] == run.jobs["embedded_model"] == 1
