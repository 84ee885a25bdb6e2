"""A study that is killed, at every moment, is the study that is not."""

import os
import random
import signal
import time
from contextlib import suppress

import pytest
from optuna.storages.journal import JournalFileBackend

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.search.journal import URL_VARIABLE, open_study
from snakesteer.search.plan import Plan
from snakesteer.search.samplers import make_pruner
from snakesteer.search.study import run_study
from tests.fake_search import make_inputs, read_trials, start
from tests.unit.search.fakes import LAYERS, VECTORS, FakeDesk, answers_of, records

CHUNKS, CHUNK = 3, 2
STEERING = SteeringConfig(methods=["caa", "dac"], directions=["caa", "probe"], strength=(-0.5, 0.5))
BASELINE = answers_of([1, 0] * CHUNKS)


class Killed(BaseException):
    """The process is gone."""


def desk(**changes):
    return FakeDesk(lambda candidate, number: candidate.dose > 0.1 * number, CHUNK, **changes)


def run(journal, answers, **changes):
    fixed = {"n_trials": 7, "n_startup_trials": 2, "pruner_startup_trials": 1}
    search = SearchConfig(chunk_size=CHUNK, **{**fixed, "pruner_warmup_chunks": 0, **changes})
    study = open_study(journal, "x", make_pruner(search, CHUNKS), workers=1)
    plan = Plan(search, STEERING, LAYERS, VECTORS, BASELINE, trials_in_flight=3, rows=2)
    run_study(study, plan, answers)
    return study


@pytest.fixture
def killed_at(monkeypatch):
    """A function that lets the process die instead of its n-th write, None never; counts writes."""
    state = {"left": None, "count": 0}
    write = JournalFileBackend.append_logs

    def append_logs(self, logs):
        if state["left"] == 0:
            raise Killed
        state["left"] = None if state["left"] is None else state["left"] - 1
        state["count"] += 1
        write(self, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", append_logs)

    def kill(number):
        state["left"], state["count"] = number, 0
        return state

    return kill


@pytest.mark.parametrize("pruner", ["median", "successive_halving"])
def test_a_kill_before_a_write(tmp_path, killed_at, pruner):
    kinds = {"sampler": "tpe", "pruner": pruner}
    state = killed_at(None)
    whole = run(tmp_path / "whole", desk(), **kinds)
    assert {trial.state.name for trial in whole.trials} == {"COMPLETE", "PRUNED"}
    writes = state["count"]
    order = random.Random(0)
    for number in range(4, writes, 2):  # a study is there after three
        journal = tmp_path / str(number)
        killed_at(number)
        with pytest.raises(Killed):
            run(journal, desk(order=order), **kinds)
        killed_at(None)
        assert records(run(journal, desk(order=order), **kinds)) == records(whole)


@pytest.mark.parametrize("error", [Killed(), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("sampler", ["tpe", "qmc", "cmaes", "gp"])
def test_a_stop_between_answers(tmp_path, sampler, error):
    steering = SteeringConfig(methods=["caa"], directions=["caa"], strength=(-0.5, 0.5))
    plan = {"sampler": sampler, "pruner": "successive_halving"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.STEERING", steering)
        patch.setattr(f"{__name__}.LAYERS", (0, 2))
        whole = records(run(tmp_path / "whole", desk(), **plan))
        for answers in (0, 5, 11):  # each run goes so far, the last one to the end
            with pytest.raises(type(error)):
                run(tmp_path / "j", desk(fail_at=(answers, error)), **plan)
        assert records(run(tmp_path / "j", desk(), **plan)) == whole


def test_a_stop_of_a_study_in_a_database(tmp_path, monkeypatch):
    found = []
    for name, stops in (("whole", ()), ("stopped", (3, 14, 9))):
        monkeypatch.setenv(URL_VARIABLE, f"sqlite:///{tmp_path / name}.db")
        for answers in stops:
            with pytest.raises(Killed):
                run(tmp_path / "j", desk(fail_at=(answers, Killed())))
        found.append(records(run(tmp_path / "j", desk())))
    assert found[0] == found[1]
    assert len(found[0]) == 7


def told(journal):
    """All that counts of a study that lies in a journal."""
    return [
        (t.number, t.state, t.params, t.values, t.intermediate_values, t.user_attrs)
        for t in read_trials(journal)
    ]


@pytest.mark.parametrize("pruner", ["median", "successive_halving"])
def test_processes_killed_at_any_time(tmp_path, pruner):
    inputs = make_inputs(tmp_path, n_trials=24, pruner=pruner, trials_in_flight=3)
    whole, journal = tmp_path / "whole" / "journal.log", tmp_path / "j" / "journal.log"
    start(inputs, whole, pause=0.0).join(60)
    moments = random.Random(pruner)
    kills = 0
    while not (tmp_path / "j" / "worker_0.json").exists():
        process = start(inputs, journal, pause=0.02)
        if kills < 8:
            time.sleep(moments.uniform(0.05, 0.4))
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(process.pid, signal.SIGKILL)
            kills += process.is_alive() or process.exitcode != 0
        process.join(60)
    assert kills > 2
    assert told(journal) == told(whole)
