"""One live run on a results folder; locks of dead runs, and only those, go."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from snakesteer.errors import UserError
from snakesteer.records.live_runs import RUN_VARIABLE, forget_dead_runs, hold_run, join_run

RUN = """
import sys, time
from pathlib import Path
from snakesteer.errors import UserError
from snakesteer.records.live_runs import hold_run
go, locks = Path(sys.argv[1]), sys.argv[2:]
while not go.exists():
    time.sleep(0.001)
try:
    held = hold_run("results", locks, print, Path("state"))
    print("held", flush=True)
except UserError as error:
    print(error, flush=True)
sys.stdin.read()
"""
STATE = Path("state")
LOCK = STATE / "locks" / "0.output.lock"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN_VARIABLE, "")  # so that what a run sets there is taken back
    monkeypatch.delenv(RUN_VARIABLE)
    LOCK.parent.mkdir(parents=True)
    LOCK.write_text("results/a\n")
    return tmp_path


def start(*locks: Path) -> subprocess.Popen[str]:
    """A run in a process of its own; it begins when there is a file `go`."""
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "go", *map(str, locks)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def live_run(*locks: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(*locks)
    try:
        Path("go").touch()
        assert said(process) == "held"
        yield process
    finally:
        process.kill()
        process.communicate()


def killed_run(*locks: Path) -> None:
    with live_run(*locks) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()


def record() -> Path:
    (found,) = (STATE / "snakesteer").glob("*.json")
    return found


def change_record(**values: object) -> None:
    record().write_text(json.dumps(json.loads(record().read_text()) | values))


def test_of_runs_that_begin_at_the_same_moment_one_has_the_folder():
    processes = [start() for _ in range(6)]
    try:
        Path("go").touch()
        words = [said(process) for process in processes]
        assert sorted(word == "held" for word in words) == [False] * 5 + [True]
        winner = processes[words.index("held")]
        for word in words:
            if word != "held":
                assert word.startswith("Another run works on 'results': process ")
                assert f"process {winner.pid} on " in word
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_the_locks_of_a_dead_run_go_and_no_others():
    again, foreign = LOCK.with_name("0.input.lock"), LOCK.with_name("1.output.lock")
    for path in (again, foreign):
        path.write_text("results/b\n")
    killed_run(LOCK, again)
    os.utime(again, ns=(1, 1))  # a newer run of another workflow took the name
    assert forget_dead_runs(STATE) == []
    assert not LOCK.exists()
    assert again.exists()
    assert foreign.exists()
    held = hold_run("results", [str(foreign)], pytest.fail, STATE)
    assert held is not None
    held.close()


def test_the_locks_of_a_live_run_stay():
    with live_run(LOCK) as process:
        [words] = forget_dead_runs(STATE)
        assert f"under way in this folder: process {process.pid} on " in words
    assert LOCK.exists()


def test_another_results_folder_is_free():
    with live_run():
        held = hold_run("elsewhere", [], pytest.fail, STATE)
        assert held is not None
        held.close()


def test_a_run_of_another_machine_is_left_alone():
    killed_run(LOCK)
    change_record(host="node7")
    [words] = forget_dead_runs(STATE)
    assert "on node7, since 20" in words
    assert "snakemake --unlock" in words
    assert LOCK.exists()


def test_a_process_of_the_same_number_is_another_one():
    killed_run(LOCK)
    change_record(pid=os.getpid())
    assert forget_dead_runs(STATE) == []
    assert not LOCK.exists()


def test_where_every_lock_is_granted_the_process_counts(monkeypatch: pytest.MonkeyPatch):
    with live_run(LOCK):
        monkeypatch.setattr(fcntl, "flock", lambda file, kind: None)
        [words] = forget_dead_runs(STATE)
        assert "under way" in words
    assert LOCK.exists()
    assert forget_dead_runs(STATE) == []
    assert not LOCK.exists()


def test_a_file_system_without_locks_is_told_of(monkeypatch: pytest.MonkeyPatch):
    killed_run(LOCK)

    def refuse(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert forget_dead_runs(STATE) == []
    assert LOCK.exists()
    words: list[str] = []
    assert hold_run("results", [], words.append, STATE) is None
    os.environ[RUN_VARIABLE] = f"x {STATE.absolute() / 'none.json'}"
    assert join_run() is None
    assert "has no locks" in words[0]


def test_a_run_of_another_user_is_one(monkeypatch: pytest.MonkeyPatch):
    """Their lock cannot be written to; that is no file system without locks."""
    opened = Path.open

    def theirs(path: Path, mode: str = "r", **others: Any) -> IO[Any]:
        if path.suffix == ".run" and mode != "r":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, **others)

    words: list[str] = []
    with live_run():
        monkeypatch.setattr(Path, "open", theirs)
        with pytest.raises(UserError, match="Another run works on 'results'"):
            hold_run("results", [], words.append, STATE)
    assert hold_run("results", [], words.append, STATE) is not None
    assert words == []


def test_the_next_run_waits_for_jobs_of_a_dead_one():
    killed_run()
    token = json.loads(record().read_text())["token"]
    os.environ[RUN_VARIABLE] = dead = f"{token} {record().absolute()}"
    job = join_run()
    assert job is not None
    ends = threading.Timer(0.5, job.close)
    ends.start()
    before, words = time.monotonic(), []
    held = hold_run("results", [], words.append, STATE)
    assert time.monotonic() - before > 0.4
    assert "waiting until they end" in words[0]
    assert held is not None
    # A job of the new run joins, and one of the dead run comes too late.
    mine = join_run()
    assert mine is not None
    mine.close()
    os.environ[RUN_VARIABLE] = dead
    with pytest.raises(UserError, match=r"was killed, and another one .* works now"):
        join_run()
    held.close()
