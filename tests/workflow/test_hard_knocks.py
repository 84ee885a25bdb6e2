"""One fault of the machine after the other in one project, which finishes once all are repaired."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.workflow.project import Project
from tests.workflow.test_bad_inputs import check_nothing_half_made, check_refusal

pytestmark = pytest.mark.workflow

TARGET = "results/splits/train.jsonl"
YEAR_2100 = 4_102_444_800


def mount(*arguments: str | Path) -> None:
    """Mount something, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("nothing can be mounted here")


@pytest.fixture
def results(fresh_copy: Project):
    """The results folder, as a small disk of its own."""
    folder = fresh_copy.results
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=12k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


def test_faults_one_after_the_other(fresh_copy: Project, results: Path):
    locks = fresh_copy.folder / ".snakemake" / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    other = locks / "0.output.lock"
    other.write_text(f"{TARGET}\n")  # what another run in this folder leaves while it lasts
    check_refusal(fresh_copy.snakemake(TARGET), "Directory cannot be locked", "--unlock")
    other.unlink()

    train = fresh_copy.folder / "problems" / "train.jsonl"
    os.utime(train, (YEAR_2100, YEAR_2100))
    run = fresh_copy.snakemake(TARGET)
    check_refusal(run, "older modification time", "problems/train.jsonl", "clock skew")
    check_nothing_half_made(fresh_copy, "data", "splits")
    os.utime(train)

    mount("-o", "remount,ro", results)
    check_refusal(fresh_copy.snakemake(TARGET), "'results' cannot be written to (Read-only")
    mount("-o", "remount,rw,size=12k", results)

    # The official part still fits onto the disk, the split beside it does not.
    check_refusal(fresh_copy.snakemake(TARGET), "The disk is full", "Make room")
    assert (results / "data" / "train.jsonl").exists()
    check_nothing_half_made(fresh_copy, "splits")
    mount("-o", "remount,size=16m", results)

    run = fresh_copy.snakemake(TARGET)
    assert run.code == 0, run.text
    assert run.jobs == {"train_split": 1}
    os.utime(train, (0, 0))  # 1970: older than what was made of it
    assert fresh_copy.snakemake("-n", TARGET).idle
