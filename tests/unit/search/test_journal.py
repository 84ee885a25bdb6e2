"""What a study survives: half a line, stale locks, killed processes, several at a time."""

import json
import logging
import os
import signal
import threading
import time

import pandas as pd
import pytest
from filelock import FileLock

from snakesteer.config import SearchConfig
from snakesteer.errors import UserError
from snakesteer.search.database import read_db
from snakesteer.search.journal import (
    URL_VARIABLE,
    WORKER,
    ask_lock,
    finished_trials,
    load_finished,
    one_process,
    open_study,
)
from snakesteer.search.samplers import make_pruner
from snakesteer.search.tables import collect
from tests.fake_search import check_finished, finished, make_inputs, read_trials, start


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "study" / "journal.log"


def reopen(journal, fingerprint="x", workers=1, settings=None):
    pruner = make_pruner(SearchConfig(), 3)
    return open_study(journal, fingerprint, pruner, workers, settings)


def ask(study, worker):
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    trial.set_user_attr(WORKER, worker)
    return trial


def grow(journal, count=1, **arguments):
    study = reopen(journal, **arguments)
    for _ in range(count):
        study.tell(ask(study, 0), 0.5)
    return study


def states(journal):
    return [trial.state.name for trial in read_trials(journal)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("tail", [b"{", b'{"op_code": 5, "worker_id": "', b"\xc3"])
def test_half_a_line_costs_nothing(journal, tail, workers):
    grow(journal, 2)
    before = finished(journal)
    with journal.open("ab") as file:
        file.write(tail)
    grow(journal, 2, workers=workers)
    after = finished(journal)
    assert len(after) == 4
    assert {number: after[number] for number in before} == before
    for line in journal.read_bytes().splitlines():
        json.loads(line)


def test_half_a_line_of_another_worker_that_was_killed_meanwhile(journal):
    study = grow(journal)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5')
    study.tell(ask(study, 0), 0.25)  # without opening it again
    assert [trial.value for trial in reopen(journal).trials] == [0.5, 0.25]


def test_an_empty_journal_and_one_without_a_study(journal):
    journal.parent.mkdir()
    for content in (b"", b'{"op_code": 0, "wor'):
        journal.write_bytes(content)
        assert len(grow(journal).trials) == 1
        journal.unlink()


def test_a_study_without_its_fingerprint_was_never_begun(journal):
    grow(journal, fingerprint="old")
    reopen(journal, fingerprint="x")
    kept = journal.with_name("journal.log.old").read_bytes()
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    assert len(grow(journal).trials) == 1
    assert journal.with_name("journal.log.old").read_bytes() == kept


def test_a_lock_file_left_by_a_killed_process_costs_no_time(journal):
    grow(journal)
    for name in ("lock", "ask", "worker_0"):
        journal.with_name(f"journal.log.{name}").touch()
    began = time.monotonic()
    with one_process(journal, 0):
        assert len(grow(journal).trials) == 2
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "line",
    [b"not json\n", b"\xff\xfe\n", b"5\n", b"[]\n", b"{}\n", b'{"op_code": 99}\n', b"null\n"],
)
def test_a_damaged_journal_is_named_and_left_alone(journal, line):
    grow(journal, 2)
    lines = journal.read_bytes().splitlines(keepends=True)
    content = b"".join([*lines[:4], line, *lines[4:]])
    journal.write_bytes(content)
    for opened in (lambda: reopen(journal), lambda: load_finished(journal, "x")):
        with pytest.raises(UserError, match=r"journal\.log, is damaged.*Delete it"):
            opened()
    assert journal.read_bytes() == content


def test_other_settings_start_anew_keep_the_old_and_say_why(journal, caplog):
    grow(journal, 2, fingerprint="one", settings={"search__seed": 0, "layers": [1, 2], "a.h5": "f"})
    old = journal.read_bytes()
    with caplog.at_level(logging.WARNING, "snakesteer"):
        settings = {"search__seed": 1, "layers": [1, 2], "b.h5": "f"}
        study = reopen(journal, fingerprint="two", settings=settings)
    assert study.trials == []
    assert journal.with_name("journal.log.old").read_bytes() == old
    assert "changed since the last search: a.h5, b.h5, search.seed: starting" in caplog.text
    caplog.clear()
    assert reopen(journal, fingerprint="two").trials == []
    assert caplog.text == ""


def test_only_trials_of_workers_that_are_gone_become_failed(journal):
    study = reopen(journal, workers=3)
    for worker in (0, 1, 2):
        ask(study, worker)
    study.ask()  # nobody's
    reopen(journal, workers=2)  # there were three
    assert states(journal) == ["RUNNING", "RUNNING", "FAIL", "FAIL"]
    reopen(journal, workers=1)
    assert states(journal) == ["RUNNING", *["FAIL"] * 3]


def test_one_process_of_a_worker_at_a_time(journal, caplog):
    events = []

    def second():
        with one_process(journal, 0):
            events.append("second")

    with one_process(journal, 0), one_process(journal, 1), caplog.at_level("WARNING", "snakesteer"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        events.append("first")
    thread.join(30)
    assert events == ["first", "second"]
    assert "waiting until it ends" in caplog.text


def test_more_trials_extend_a_study(journal, tmp_path):
    for n_trials in (4, 9):
        inputs = make_inputs(tmp_path, n_trials=n_trials)
        before = finished(journal)
        start(inputs, journal).join(60)
        after = finished(journal)
        assert len(after) == n_trials
        assert {number: after[number] for number in before} == before
    check_finished(read_trials(journal), 9)


def test_one_seed_is_one_table_byte_for_byte(tmp_path):
    tables = []
    for name in ("one", "two"):
        inputs, folder = make_inputs(tmp_path, n_trials=12), tmp_path / name
        start(inputs, folder / "journal.log").join(60)
        files = folder / "study.db", folder / "trials.csv"
        collect(folder / "journal.log", [str(folder / "worker_0.json")], 12, *files)
        table = pd.read_csv(files[1], dtype=str).drop(columns="seconds")
        tables.append(table.to_csv())
    assert tables[0] == tables[1]


def test_a_database_takes_the_place_of_the_file(journal, tmp_path, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, f"sqlite:///{tmp_path / 'shared.db'}")
    study = grow(journal, 2)
    stale = ask(study, 1)  # of a worker that is gone
    assert not journal.exists()
    study = grow(journal)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2 + ["FAIL", "COMPLETE"]
    assert study.trials[2].number == stale.number
    # Other settings are another study in the same database.
    assert grow(journal, fingerprint="other").trials[0].number == 0
    assert len(finished_trials(load_finished(journal, "x"))) == 3
    (tmp_path / "worker_0.json").write_text('{"fingerprint": "x"}')
    tables = tmp_path / "study.db", tmp_path / "trials.csv"
    collect(journal, [str(tmp_path / "worker_0.json")], 3, *tables)
    assert len(read_db(tables[0]).trials) == 4


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all/study.db?password=secret",
        "postgresql://user:secret@localhost:1/none",
        "mysql://user:secret@localhost:1/none",
        "no url with secret",
    ],
)
def test_a_database_that_is_not_there(journal, monkeypatch, url):
    monkeypatch.setenv(URL_VARIABLE, url)
    for opened in (lambda: reopen(journal), lambda: load_finished(journal, "x")):
        with pytest.raises(UserError, match=rf"{URL_VARIABLE} cannot be opened") as caught:
            opened()
        assert "secret" not in str(caught.value)


def test_an_empty_variable_is_none(journal, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, "")
    grow(journal)
    assert journal.exists()


def test_a_study_that_is_not_where_it_is_looked_for(journal, tmp_path, monkeypatch):
    grow(journal)
    monkeypatch.setenv(URL_VARIABLE, f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(UserError, match=r"not in the database of SNAKESTEER_STUDY_URL.*same"):
        load_finished(journal, "x")
    monkeypatch.delenv(URL_VARIABLE)
    journal.unlink()
    with pytest.raises(UserError, match=r"not in .*journal\.log.*delete study/worker"):
        load_finished(journal, "x")
    assert not journal.exists()


@pytest.mark.parametrize("sampler", ["tpe", "grid", "qmc", "gp"])
def test_two_workers_share_a_journal(journal, tmp_path, sampler):
    inputs = make_inputs(tmp_path, 2, n_trials=25, sampler=sampler, grid_points=9)
    workers = [start(inputs, journal, worker, pause=0.01) for worker in (0, 1)]
    for process in workers:
        process.join(120)
        assert process.exitcode == 0
    trials = read_trials(journal)
    check_finished(trials, 25)
    assert "FAIL" not in states(journal)
    assert {trial.user_attrs["worker"] for trial in trials} == {0, 1}


@pytest.mark.parametrize("killed", [0, 1])
def test_one_of_two_workers_is_killed_and_comes_again(journal, tmp_path, killed):
    inputs = make_inputs(tmp_path, 2, n_trials=30, sampler="random")
    workers = [start(inputs, journal, worker, pause=0.02) for worker in (0, 1)]
    while len(finished(journal)) < 8:
        time.sleep(0.01)
    os.kill(workers[killed].pid, signal.SIGKILL)
    workers[killed].join()
    time.sleep(0.1)  # the other one goes on
    workers[killed] = start(inputs, journal, killed, pause=0.02)
    for process in workers:
        process.join(120)
        assert process.exitcode == 0
    trials = read_trials(journal)
    check_finished(trials, 30)
    assert "FAIL" not in states(journal)  # the killed one's went on


def test_a_worker_waits_while_another_asks(journal, tmp_path):
    inputs = make_inputs(tmp_path, 2, n_trials=4)
    lock = ask_lock(journal)
    assert isinstance(lock, FileLock)
    with lock:
        process = start(inputs, journal, worker=1)
        process.join(0.7)
        assert not journal.exists()
    process.join(60)
    check_finished(read_trials(journal), 4)
