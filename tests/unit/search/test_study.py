"""The study with evaluations made by hand: what it runs, keeps, resumes and chooses."""

from dataclasses import replace

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.records.files import write_json
from snakesteer.search.asking import ask
from snakesteer.search.database import read_db
from snakesteer.search.journal import open_study
from snakesteer.search.plan import Plan
from snakesteer.search.samplers import make_pruner
from snakesteer.search.selection import rank_trials
from snakesteer.search.study import delivered, run_study, trial_rows
from snakesteer.search.tables import collect
from snakesteer.steering.candidate import PARAM_NAMES
from tests.unit.search.fakes import LAYERS, VECTORS, FakeDesk, answers_of, records

CHUNKS, CHUNK = 3, 4
BASELINE = answers_of([1, 0, 1, 0] * CHUNKS)  # accuracy 0.5
STEERING = SteeringConfig(methods=["caa", "dac"], directions=["caa", "probe"], strength=(-0.5, 0.5))


def settings(**changes):
    fixed = {"n_trials": 8, "chunk_size": CHUNK, "pruner": "none", "trials_in_flight": 2}
    return SearchConfig(**{**fixed, **changes})


def helps(candidate, number):
    return candidate.dose > 0.1


def desk(correct=helps, **changes):
    return FakeDesk(correct, CHUNK, **changes)


def reopen(journal, search, fingerprint="x"):
    return open_study(journal, fingerprint, make_pruner(search, CHUNKS), workers=1)


def run(journal, search, answers, baseline=BASELINE, fingerprint="x", rows=1):
    study = reopen(journal, search, fingerprint)
    in_flight = search.trials_in_flight
    run_study(study, Plan(search, STEERING, LAYERS, VECTORS, baseline, in_flight, rows), answers)
    return study


def choose_best(trials):
    return rank_trials(trials, one_standard_error=False)


def configuration(trial):
    return tuple(trial.user_attrs.get(name) for name in PARAM_NAMES)


def test_the_first_trial_is_the_baseline_and_costs_nothing(tmp_path):
    answers = desk()
    study = run(tmp_path / "j", settings(), answers)
    first = study.trials[0]
    assert (first.value, first.user_attrs["steering_alpha"]) == (0.5, 0.0)
    assert first.user_attrs["accuracy_by_chunk"] == [0.5] * CHUNKS
    assert all(candidate.alpha != 0.0 for candidate, _, _ in answers.asked)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 8
    for trial in study.trials[1:]:
        assert trial.value == float(trial.user_attrs["steering_dose"] > 0.1)
        assert trial.user_attrs["problems"] == CHUNKS * CHUNK


def test_parameters_of_dac_exist_for_dac_alone(tmp_path):
    study = run(tmp_path / "j", settings(n_trials=16), desk())
    own = {"entropy_threshold", "ptop", "max_alpha"}
    by_method = {"caa": [], "dac": []}
    for trial in study.trials:
        by_method[trial.params["steering_method"]].append(trial)
    assert all(own.isdisjoint(t.params) for t in by_method["caa"])
    assert all(own <= set(t.params) for t in by_method["dac"])
    assert all(own.isdisjoint(t.user_attrs) for t in by_method["caa"])
    assert all({*own, "probe_alpha"} <= set(t.user_attrs) for t in by_method["dac"])
    assert len(by_method["caa"]) > 1
    assert by_method["dac"]


class Dynamic(FakeDesk):
    """Answers under DAC have an α_t, which grows from chunk to chunk."""

    def answer(self, candidate, number):
        answer = super().answer(candidate, number)
        alpha_t = 0.2 * (1 + number // CHUNK)
        return replace(answer, alpha_t=alpha_t) if candidate.dynamic else answer


def test_a_trial_keeps_the_dose_that_it_delivered(tmp_path):
    search = settings(n_trials=16, pruner="median", pruner_startup_trials=1, pruner_warmup_chunks=0)
    study = run(tmp_path / "j", search, Dynamic(helps, CHUNK))
    seen = set()
    for trial, row in zip(study.trials, trial_rows(study.trials), strict=True):
        attributes = trial.user_attrs
        # 0.2, 0.3 and 0.4 over one, two and three chunks of equal length.
        chunks = attributes["problems"] // CHUNK
        dynamic = attributes["scope"] == "dynamic" and attributes["steering_alpha"] != 0.0
        mean = 0.1 * (1 + chunks) if dynamic else None
        assert attributes.get("mean_alpha_t") == (pytest.approx(mean) if dynamic else None)
        dose = abs(attributes["steering_dose"]) * (mean or 1.0)
        assert attributes["delivered_dose"] == pytest.approx(dose)
        assert delivered(trial).items() <= row.items()
        assert row["mean_alpha_t"] == attributes.get("mean_alpha_t")
        seen.add((dynamic, chunks == CHUNKS))
    assert seen == {(True, True), (True, False), (False, True), (False, False)}


def test_bad_trials_are_pruned_early(tmp_path):
    search = settings(n_trials=12, pruner="median", pruner_startup_trials=1, pruner_warmup_chunks=0)
    answers = desk()
    study = run(tmp_path / "j", search, answers)
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert trial.user_attrs["steering_dose"] <= 0.1
        assert trial.user_attrs["problems"] < CHUNKS * CHUNK
    steered = [t for t in study.trials if t.user_attrs["steering_alpha"] != 0.0]
    assert answers.answered == sum(t.user_attrs["problems"] for t in steered)
    rows = {row["number"]: row for row in trial_rows(study.trials)}
    assert all(rows[t.number]["accuracy"] == 0.0 for t in pruned)
    assert all(t.state == TrialState.COMPLETE for t in choose_best(study.trials))


@pytest.mark.parametrize("error", [RuntimeError("boom"), UserError("a", "b")])
def test_a_failure_is_kept_raised_and_made_up_for(tmp_path, error):
    search = settings()
    # Trial 0 costs nothing: with twelve answers each, the thirtieth is in the midst of two trials.
    with pytest.raises(type(error)):
        run(tmp_path / "j", search, desk(fail_at=(30, error)))
    study = reopen(tmp_path / "j", search)
    states = [t.state for t in study.trials]
    assert states == [TrialState.COMPLETE] * 3 + [TrialState.FAIL] * 2
    for trial in study.trials[3:]:
        assert trial.user_attrs["error"] == f"{type(error).__name__}: {error}"
        assert trial.values is None
    study = run(tmp_path / "j", search, desk())
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == 8
    assert len(study.trials) == 10
    drawn = [tuple(sorted(t.params.items())) for t in study.trials]
    assert len(set(drawn)) == len(drawn)


def test_a_trial_that_had_ended_outlives_the_failure_of_an_earlier_one(tmp_path):
    class LastFirst(FakeDesk):
        def ask(self, candidate, chunk, priority):
            return super().ask(candidate, chunk, -priority)

    search = settings(trials_in_flight=3)
    with pytest.raises(RuntimeError):
        # Trial 3 has ended, those before it have not.
        run(tmp_path / "j", search, LastFirst(helps, CHUNK, fail_at=(13, RuntimeError("boom"))))
    *failed, ended = reopen(tmp_path / "j", search).trials[1:]
    assert [trial.state for trial in failed] == [TrialState.FAIL] * 2
    assert (ended.number, ended.state) == (3, TrialState.RUNNING)
    assert ended.user_attrs["problems"] == CHUNKS * CHUNK
    answers = desk()
    study = run(tmp_path / "j", search, answers)
    assert study.trials[3].state == TrialState.COMPLETE
    assert study.trials[3].value == float(ended.user_attrs["steering_dose"] > 0.1)
    assert answers.answered == 6 * CHUNKS * CHUNK  # of the eight, all but trials 0 and 3


def test_the_unsteered_trial_is_run_again_where_it_failed(tmp_path):
    search = settings(n_trials=4, pruner="median", pruner_startup_trials=0, pruner_warmup_chunks=0)
    study = reopen(tmp_path / "j", search)
    plan = Plan(search, STEERING, LAYERS, VECTORS, BASELINE, 2, 1)
    study.tell(ask(study, plan).number, state=TrialState.FAIL)
    # Nothing helps, so that no steering must win.
    study = run(tmp_path / "j", search, desk(lambda *_: False))
    best = choose_best(study.trials)[0]
    assert (best.user_attrs["steering_alpha"], best.value) == (0.0, 0.5)
    unsteered = [t for t in study.trials if t.user_attrs["steering_alpha"] == 0.0]
    assert [t.state for t in unsteered] == [TrialState.FAIL, TrialState.COMPLETE]


def test_half_a_line_at_the_end_of_the_journal(tmp_path):
    journal, search = tmp_path / "j", settings(n_trials=4)
    before = records(run(journal, search.model_copy(update={"n_trials": 2}), desk()))
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    study = run(journal, search, desk())
    assert records(study)[:2] == before
    assert records(reopen(journal, search)) == records(study)
    assert len(study.trials) == 4


def test_a_damaged_journal_is_named(tmp_path):
    journal = tmp_path / "journal.log"
    run(journal, settings(n_trials=2), desk())
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[3] = b"not json\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"journal\.log, is damaged.*Delete it"):
        reopen(journal, settings(n_trials=2))


def test_other_settings_start_a_new_study_and_keep_the_old_journal(tmp_path):
    journal, search = tmp_path / "j", settings(n_trials=3)
    run(journal, search, desk(), fingerprint="one")
    old = journal.read_bytes()
    answers = desk()
    study = run(journal, search, answers, fingerprint="two")
    assert answers.asked
    assert len(study.trials) == 3
    assert (tmp_path / "j.old").read_bytes() == old


def test_a_finished_study_runs_nothing_and_more_trials_extend_it(tmp_path):
    journal, search = tmp_path / "j", settings(n_trials=9, pruner="median", n_startup_trials=2)
    whole = records(run(tmp_path / "k", search.model_copy(update={"trials_in_flight": 3}), desk()))
    for n_trials in (4, 5, 9):
        some = search.model_copy(update={"trials_in_flight": 3, "n_trials": n_trials})
        found = records(run(journal, some, desk()))
        # It is the study that runs through, wherever it was extended.
        assert found == whole[:n_trials]
        idle = desk()
        assert records(run(journal, some, idle)) == found
        assert idle.asked == []


def test_a_configuration_that_comes_again_is_answered_once(tmp_path, monkeypatch):
    again = {"steering_method": "caa", "steering_direction": "caa", "layer_id": 2}
    again |= {"steering_dose": 0.25}

    class Same(optuna.samplers.RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            return again[name]

    monkeypatch.setattr("snakesteer.search.asking.make_sampler", lambda *_: Same())
    # Side by side, and one after the other.
    for in_flight in (3, 1):
        search, answers = settings(n_trials=4, trials_in_flight=in_flight), desk()
        study = run(tmp_path / f"j{in_flight}", search, answers)
        assert [t.value for t in study.trials] == [0.5, 1.0, 1.0, 1.0]
        assert [t.user_attrs["new_tokens"] for t in study.trials] == [7 * CHUNKS * CHUNK] * 4
        assert len({configuration(t) for t in study.trials[1:]}) == 1
        assert answers.answered == CHUNKS * CHUNK


@pytest.mark.parametrize("in_flight", [1, 3])
def test_one_seed_is_one_study(tmp_path, in_flight):
    search = settings(n_trials=10, trials_in_flight=in_flight, pruner="median")
    one = run(tmp_path / "a", search, desk())
    two = run(tmp_path / "b", search, desk(), rows=100)
    other = run(tmp_path / "c", search.model_copy(update={"seed": 1}), desk())
    assert records(one) == records(two)
    assert records(one)[1:] != records(other)[1:]


def test_a_resumed_study_repeats_no_point(tmp_path):
    for n_trials in range(2, 9):
        study = run(tmp_path / "j", settings(n_trials=n_trials, n_startup_trials=20), desk())
    drawn = [t.params["steering_dose"] for t in study.trials]
    assert len(set(drawn)) == 8


def test_of_equals_the_smaller_dose_wins(tmp_path):
    study = run(tmp_path / "j", settings(), desk(lambda *_: True))
    best = choose_best(study.trials)
    doses = [delivered(t)["delivered_dose"] for t in best[:-1]]
    assert doses == sorted(doses)
    assert best[0].value == 1.0
    assert best[-1].user_attrs["steering_alpha"] == 0.0


@pytest.mark.parametrize("always", [True, False])
def test_no_steering_wins_where_nothing_helps(tmp_path, always):
    # All as good as the baseline, or all worse.
    baseline = answers_of([1] * CHUNKS * CHUNK)
    study = run(tmp_path / "j", settings(), desk(lambda *_: always), baseline=baseline)
    assert choose_best(study.trials)[0].number == 0


def test_study_db_and_trials_csv_hold_all_trials(tmp_path):
    search = settings(n_trials=5)
    with pytest.raises(RuntimeError):
        run(tmp_path / "j", search, desk(fail_at=(30, RuntimeError("boom, twice"))))
    study = run(tmp_path / "j", search, desk())
    write_json(tmp_path / "worker.json", {"fingerprint": "x"})
    tables = tmp_path / "out" / "study.db", tmp_path / "out" / "trials.csv"
    with pytest.raises(UserError, match="fewer than 6 finished trials"):
        collect(tmp_path / "j", [str(tmp_path / "worker.json")], 6, *tables)
    collect(tmp_path / "j", [str(tmp_path / "worker.json")], 5, *tables)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["study.db", "trials.csv"]
    copy = read_db(tables[0])
    assert records(copy) == records(study)
    assert [t.intermediate_values for t in copy.trials] == [
        t.intermediate_values for t in study.trials
    ]
    table = pd.read_csv(tables[1])
    names = ["number", "state", "accuracy", *PARAM_NAMES, "accuracy_by_chunk", "problems"]
    costs = ["new_tokens", "invalid", "mean_alpha_t", "delivered_dose", "steered_share"]
    assert list(table.columns) == [*names, *costs, "worker", "seconds", "error"]
    assert list(table.number) == list(range(7))
    assert list(table.state) == [t.state.name for t in study.trials]
    failed = table[table.state == "FAIL"]
    assert set(failed.error) == {"RuntimeError: boom, twice"}
    finished = table[table.state == "COMPLETE"]
    assert list(finished.accuracy) == [t.value for t in study.trials if t.value is not None]
    for row in finished.itertuples():
        assert row.steering_alpha == study.trials[row.number].user_attrs["steering_alpha"]
    assert delivered(study.trials[3]) == {}  # it failed
