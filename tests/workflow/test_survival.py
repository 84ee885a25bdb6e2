"""A search that is killed at random moments, again and again, loses nothing.

Most moments are those of a search with a made-up engine, which shares everything with the real one
but the model; some are those of the whole `snakemake` command.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from snakesteer.search.database import read_db
from snakesteer.search.tables import collect
from tests.fake_search import check_finished, finished, make_inputs, read_trials, start
from tests.workflow.project import Project, hear_interrupts

pytestmark = pytest.mark.workflow

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
WAIT_SECONDS = 120


def alive(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, leader = status.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # it has just ended
            continue
        if int(leader) == group and state != "Z":
            found.append(int(status.parent.name))
    return found


def check_whole(folder: Path, n_trials: int) -> None:
    """Assert that the study's files open and agree."""
    study = read_db(folder / "study.db")
    check = sqlite3.connect(folder / "study.db").execute("PRAGMA integrity_check").fetchall()
    assert check == [("ok",)]
    table = pd.read_csv(folder / "trials.csv")
    assert list(table.state) == [trial.state.name for trial in study.trials]
    assert table.state.isin(["COMPLETE", "PRUNED"]).sum() == n_trials
    assert not [path for path in folder.iterdir() if ".part" in path.name]


@pytest.mark.parametrize(("sampler", "pause"), [("tpe", 0.005), ("grid", 0.02)])
def test_a_search_killed_at_twelve_moments(tmp_path: Path, sampler: str, pause: float):
    n_trials = 120
    inputs = make_inputs(tmp_path, n_trials=n_trials, sampler=sampler, grid_points=41)
    journal = tmp_path / "study" / "journal.log"
    moments = random.Random(sampler)
    kept = {}
    for kill in range(12):
        process = start(inputs, journal, pause=pause)
        group = process.pid
        deadline = time.monotonic() + WAIT_SECONDS
        # Every other one is killed in the midst of trials, however slow the machine is.
        while kill % 2 and len(finished(journal)) <= len(kept):
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(moments.uniform(0.02, 0.2))
        before = finished(journal)
        os.killpg(group, SIGNALS[kill % 3])
        process.join(WAIT_SECONDS)
        assert process.exitcode, "it ended before it was killed"
        assert alive(group) == []
        after = finished(journal)
        for earlier in (kept, before):
            assert {number: after[number] for number in earlier} == earlier
        kept = after
    assert 6 <= len(kept) < n_trials
    process = start(inputs, journal, pause=pause)
    process.join(WAIT_SECONDS)
    assert process.exitcode == 0
    after = finished(journal)
    assert {number: after[number] for number in kept} == kept
    check_finished(read_trials(journal), n_trials)
    assert len(read_trials(journal)) == n_trials  # those that were running went on
    folder = journal.parent
    collect(
        journal,
        [str(folder / "worker_0.json")],
        n_trials,
        folder / "study.db",
        folder / "trials.csv",
    )
    check_whole(folder, n_trials)


def test_the_whole_command_killed_at_three_moments(finished_copy: Project, tmp_path: Path):
    """The finished study is extended; each run is killed some trials later."""
    n_trials, moments = 150, random.Random(0)
    overlay = tmp_path / "more.yaml"
    overlay.write_text(yaml.safe_dump({"search": {"n_trials": n_trials}}), encoding="utf-8")
    command = (sys.executable, "-m", "snakemake", "study", "--configfile", str(overlay))
    folder = finished_copy.results / "study"
    journal = folder / "journal.log"
    kept = finished(journal)
    assert len(kept) == 5
    for sent in SIGNALS:
        with (tmp_path / "said.txt").open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                command,
                cwd=finished_copy.folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=hear_interrupts,
            )
            deadline = time.monotonic() + WAIT_SECONDS
            while len(finished(journal)) <= len(kept):
                assert process.poll() is None, (tmp_path / "said.txt").read_text(encoding="utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(moments.uniform(0.0, 0.3))
            before = finished(journal)
            os.killpg(process.pid, sent)
            process.wait(WAIT_SECONDS)
        assert process.returncode != 0
        deadline = time.monotonic() + 20
        while alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert alive(process.pid) == []
        after = finished(journal)
        for earlier in (kept, before):
            assert {number: after[number] for number in earlier} == earlier
        kept = after
    assert len(kept) < n_trials
    run = finished_copy.run(*command)
    assert run.code == 0, run.text
    after = finished(journal)
    assert {number: after[number] for number in kept} == kept
    assert len(after) == n_trials
    steered = [t for t in read_trials(journal) if t.user_attrs.get("steering_alpha")]
    points = [str(sorted(t.params.items())) for t in steered if t.number in after]
    assert len(set(points)) == len(points)
    check_whole(folder, n_trials)
    assert finished_copy.run(*command).idle
