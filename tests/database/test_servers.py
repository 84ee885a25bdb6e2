"""Searches of several workers in real databases: kills, restarts, and where the password is."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml
from optuna.trial import FrozenTrial
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from snakesteer.search.database import read_db
from snakesteer.search.journal import STUDY_NAME
from snakesteer.search.outages import URL_VARIABLE
from snakesteer.search.tables import collect
from tests.database.server import How, NoServer, Server, mariadb, postgresql, running_server
from tests.fake_search import FINISHED, check_finished, make_inputs, start
from tests.workflow.project import Project

pytestmark = pytest.mark.database

WORKERS = 2
N_TRIALS = 60  # of the whole run
WAIT_SECONDS = 300


KINDS = {"psycopg2": postgresql, "pymysql": mariadb}  # by the driver that each needs


@pytest.fixture(scope="module", params=KINDS, ids=lambda name: KINDS[name].__name__)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    try:
        with running_server(KINDS[request.param]) as server:
            yield server
    except NoServer as reason:
        pytest.skip(f"no server: {reason}")


@pytest.fixture(autouse=True)
def url(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, server.url)


def read(server: Server, what: Callable[[optuna.storages.RDBStorage], list[Any]]) -> list[Any]:
    """Something of the database; empty before there is any."""
    if not tables_are_made(server):
        return []
    storage = optuna.storages.RDBStorage(server.url)
    try:
        return what(storage)
    except KeyError:  # no such study yet
        return []
    finally:
        storage.engine.dispose()


def tables_are_made(server: Server) -> bool:
    """Whether a worker has made all tables; who else makes them meanwhile disturbs it."""
    engine = create_engine(server.url)
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT * FROM alembic_version")).first() is not None
    except ProgrammingError:
        return False
    finally:
        engine.dispose()


def trials(server: Server, fingerprint: str) -> list[FrozenTrial]:
    """All trials of a study, as somebody reads them who has no part in the search."""
    name = f"{STUDY_NAME}-{fingerprint[:16]}"
    return read(server, lambda storage: optuna.load_study(study_name=name, storage=storage).trials)


def known(server: Server, fingerprint: str) -> dict[int, tuple[Any, ...]]:
    """All that is known of each finished trial, by its number."""
    return {
        t.number: (t.state, t.params, t.values, t.user_attrs, t.intermediate_values)
        for t in trials(server, fingerprint)
        if t.state in FINISHED
    }


def check_kept(kept: dict[int, Any], after: dict[int, Any]) -> None:
    assert {number: after.get(number) for number in kept} == kept


def test_killed_workers_and_a_restarted_server_lose_no_trial(server: Server, tmp_path: Path):
    n_trials, moments = 100, random.Random(0)
    inputs = make_inputs(tmp_path, workers=WORKERS, n_trials=n_trials)
    fingerprint, journal = inputs.fingerprint(), tmp_path / "study" / "journal.log"

    def begin(worker: int) -> Any:
        return start(inputs, journal, worker, 0.02, {URL_VARIABLE: server.url})

    workers = {worker: begin(worker) for worker in range(WORKERS)}
    kept: dict[int, Any] = {}
    # What befalls the search, in this order: a worker by its number, or the server.
    faults: tuple[int | How, ...] = (0, "orderly", 1, "at once", 0, "killed", 1)
    try:
        for fault in faults:
            time.sleep(moments.uniform(0.2, 0.8))
            before = known(server, fingerprint)
            check_kept(kept, before)
            if isinstance(fault, str):
                server.stop(fault)
                time.sleep(moments.uniform(0.0, 0.5))
                server.start()
            else:
                os.kill(workers[fault].pid, signal.SIGKILL)
                workers[fault].join(WAIT_SECONDS)
                workers[fault] = begin(fault)
            kept = known(server, fingerprint)
            check_kept(before, kept)
        assert len(kept) < n_trials
        for worker, process in workers.items():
            process.join(WAIT_SECONDS)
            if process.exitcode == 1:  # it had only begun when the server went, which is refused
                workers[worker] = begin(worker)
                workers[worker].join(WAIT_SECONDS)
            assert workers[worker].exitcode == 0
    finally:
        for process in workers.values():
            process.kill()
    check_kept(kept, known(server, fingerprint))
    found = trials(server, fingerprint)
    check_finished(found, n_trials)
    # No trial was given up: those that were running went on.
    assert len(found) == n_trials
    folder = tmp_path / "study"
    said = [str(folder / f"worker_{worker}.json") for worker in range(WORKERS)]
    collect(journal, said, n_trials, folder / "study.db", folder / "trials.csv")
    assert len(read_db(folder / "study.db").trials) == n_trials


def test_a_whole_run_and_a_password_that_nobody_sees(
    server: Server, finished_copy: Project, tmp_path: Path
):
    """Two workers; the server goes away in the middle, and later for good."""
    config = tmp_path / "workers.yaml"
    search = {"workers": WORKERS, "n_trials": N_TRIALS, "seed": 1}
    config.write_text(yaml.safe_dump({"search": search}), encoding="utf-8")
    command = ("study", "--cores", "8", "--resources", "gpu=2", "--configfile", str(config))
    said, seen = tmp_path / "said.txt", set()
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *command],
            cwd=finished_copy.folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
            stdout=out,
            stderr=out,
        )
    restarted = False
    try:
        while process.poll() is None:
            seen |= command_lines()
            if not restarted and in_database(server):
                server.stop("at once")
                deadline = time.monotonic() + WAIT_SECONDS
                while not any("waiting up to 10 minutes" in log for log in logs(finished_copy)):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                server.start()
                restarted = True
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
    first = said.read_text(encoding="utf-8")
    assert process.returncode == 0, first
    assert restarted
    assert any("snakemake" in line for line in seen)
    assert len(read_db(finished_copy.results / "study" / "study.db").trials) == N_TRIALS
    assert any("the database answers again" in log for log in logs(finished_copy))

    # Without a server the run says so; with it, it goes on.
    config.write_text(yaml.safe_dump({"search": {**search, "n_trials": N_TRIALS + 5}}))
    server.stop()
    run = finished_copy.snakemake(*command)
    server.start()
    assert run.code == 1
    assert f"The database of {URL_VARIABLE} cannot be opened" in run.text
    # The traceback of it lies beside the log.
    assert [*(finished_copy.results / "logs").glob("search_*.traceback")]
    assert holding(finished_copy, server.password) == []
    again = finished_copy.snakemake(*command)
    assert again.code == 0, again.text
    assert len(read_db(finished_copy.results / "study" / "study.db").trials) == N_TRIALS + 5

    for words in (first, run.text, again.text, *seen):
        assert server.password not in words
    assert holding(finished_copy, server.password) == []


def holding(project: Project, password: str) -> list[Path]:
    """Files of a project that say the password."""
    files = (path for path in project.folder.rglob("*") if path.is_file())
    return [path for path in files if password.encode() in path.read_bytes()]


def in_database(server: Server) -> list[Any]:
    """Studies of a whole run that are under way."""
    studies = read(server, lambda storage: optuna.get_all_study_summaries(storage))
    return [study for study in studies if 4 * WORKERS < study.n_trials < N_TRIALS]


def logs(project: Project) -> list[str]:
    """What the workers of the search said."""
    found = (project.results / "logs").glob("search_*.log")
    return [path.read_text(encoding="utf-8") for path in found]


def command_lines() -> set[str]:
    """What every user of the machine sees of its processes."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found.add(" ".join(process.cmdline()))
    return found
