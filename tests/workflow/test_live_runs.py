"""One Snakemake at a time works on a results folder, and one that was killed leaves no lock."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from tests.fake_search import finished
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

N_TRIALS = 40
WAIT_SECONDS = 300
REFUSED = ("Directory cannot be locked", "Another run works on 'results'")


def start(project: Project, said: Path) -> subprocess.Popen[bytes]:
    """The command of the tests, in the background."""
    with said.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "study", "--configfile", "more.yaml"],
            cwd=project.folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
            stdout=out,
            stderr=out,
        )


def wait_until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_run_at_a_time_and_no_lock_of_a_dead_one(finished_copy: Project, tmp_path: Path):
    more = finished_copy.folder / "more.yaml"
    more.write_text(yaml.safe_dump({"search": {"n_trials": N_TRIALS}}))
    again = ("study", "--configfile", "more.yaml")
    journal = finished_copy.results / "study" / "journal.log"
    before = finished(journal)
    said = [tmp_path / f"{number}.txt" for number in range(3)]
    at_once = [start(finished_copy, path) for path in said]
    jobs: list[psutil.Process] = []
    try:
        # Of three that start at once, one works.
        wait_until(lambda: len(finished(journal)) > len(before))
        (winner,) = [process for process in at_once if process.poll() is None]
        jobs = psutil.Process(winner.pid).children(recursive=True)
        for job in jobs:
            job.suspend()
        for process, path in zip(at_once, said, strict=True):
            if process is not winner:
                text = path.read_text(encoding="utf-8")
                assert process.returncode == 1, text
                assert any(words in text for words in REFUSED), text

        # While it lives, nobody else does, whether Snakemake's lock is there or not.
        later = finished_copy.snakemake(*again)
        assert later.code == 1
        assert any(words in later.text for words in REFUSED), later.text
        assert finished_copy.snakemake("--unlock").code == 0
        later = finished_copy.snakemake(*again)
        assert later.code == 1
        assert f"Another run works on 'results': process {winner.pid} on " in later.text
        assert "Traceback" not in later.text
        assert winner.poll() is None
        kept = finished(journal)

        # When it is dead, the same command goes on, after the job that outlived it.
        winner.send_signal(signal.SIGKILL)
        winner.wait()
        next_said = tmp_path / "next.txt"
        following = start(finished_copy, next_said)
        at_once.append(following)
        wait_until(lambda: "waiting until they end" in next_said.read_text(encoding="utf-8"))
        assert following.poll() is None
        for job in jobs:
            job.resume()
        assert following.wait(WAIT_SECONDS) == 0, next_said.read_text(encoding="utf-8")
    finally:
        for process in at_once:
            process.kill()
            process.wait()
        for job in jobs:
            if job.is_running():
                job.kill()
    after = finished(journal)
    assert len(after) == N_TRIALS
    for earlier in (before, kept):
        assert {number: after[number] for number in earlier} == earlier
    assert finished_copy.snakemake(*again).idle
