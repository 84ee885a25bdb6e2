"""A study of two objectives, with answers and costs made by hand."""

import math
import random

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.records.files import write_json
from snakesteer.search.best import best_config
from snakesteer.search.database import read_db
from snakesteer.search.journal import URL_VARIABLE, open_study
from snakesteer.search.objectives import CONSTRAINTS, KL, directions, front_of
from snakesteer.search.plan import Plan
from snakesteer.search.samplers import make_pruner
from snakesteer.search.selection import Rules, best_steered, rank_trials
from snakesteer.search.study import run_study
from snakesteer.search.tables import collect
from tests.unit.search.fakes import LAYERS, VECTORS, FakeDesk, answers_of, records, trial_of

CHUNKS, CHUNK = 3, 4
PROBLEMS = CHUNKS * CHUNK
BASELINE = answers_of([1, 0, 1, 0] * CHUNKS)  # accuracy 0.5
BUDGET = 0.1
RULES = Rules(one_standard_error=False, max_t=False, level=0.05, kl_budget=BUDGET)

pytestmark = pytest.mark.usefixtures("quiet_optuna")


class Killed(BaseException):
    """The process is gone."""


def steering(strength=(-0.5, 0.5)):
    return SteeringConfig(methods=["caa"], directions=["caa", "probe"], strength=strength)


def cost(candidate):
    """As KL goes with a dose."""
    return candidate.dose**2


def helps(candidate, number):
    """More so at larger doses."""
    return number < PROBLEMS * (0.5 + candidate.dose)


def desk(**changes):
    return FakeDesk(helps, CHUNK, **changes)


def run(journal, answers, cost=cost, space=None, **changes):
    fixed = {"n_trials": 12, "n_startup_trials": 4, "objectives": ["accuracy", "kl"]}
    search = SearchConfig(chunk_size=CHUNK, kl_budget=BUDGET, **{**fixed, **changes})
    study = open_study(
        journal, "x", make_pruner(search, CHUNKS), workers=1, directions=directions(search)
    )
    plan = Plan(
        *(search, space or steering(), LAYERS, VECTORS, BASELINE),
        trials_in_flight=3,
        rows=2,
        cost=cost,
    )
    run_study(study, plan, answers)
    return study


def test_a_trial_over_the_budget_answers_nothing(tmp_path):
    answers = desk()
    study = run(tmp_path / "j", answers)
    over = [t for t in study.trials if t.user_attrs["steering_dose"] ** 2 > BUDGET]
    assert 2 <= len(over) <= 8
    asked = {candidate.dose for candidate, _, _ in answers.asked}
    for trial in over:
        assert (trial.state, trial.values) == (TrialState.PRUNED, None)
        assert trial.user_attrs["problems"] == 0
        assert trial.user_attrs["steering_dose"] not in asked
    for trial in study.trials:
        dose = trial.user_attrs["steering_dose"]
        assert trial.user_attrs[KL] == pytest.approx(dose**2)
        assert trial.system_attrs[CONSTRAINTS] == [trial.user_attrs[KL] - BUDGET]
        if trial not in over:
            accuracy = trial.user_attrs["accuracy_by_chunk"][-1]
            assert (trial.state, trial.values) == (TrialState.COMPLETE, [accuracy, dose**2])


def test_no_steering_costs_nothing_and_is_not_measured(tmp_path):
    measured = []

    def counted(candidate):
        measured.append(candidate.dose)
        return cost(candidate)

    first, *others = run(tmp_path / "j", desk(), counted).trials
    assert first.values == [0.5, 0.0]
    assert 0.0 not in measured
    # Each trial once, those over the budget too.
    assert measured == [trial.user_attrs["steering_dose"] for trial in others]


def test_a_steering_that_breaks_numbers_is_over_every_budget(tmp_path):
    study = run(tmp_path / "j", desk(), lambda candidate: math.nan, n_trials=3)
    assert [trial.user_attrs[KL] for trial in study.trials] == [0.0, math.inf, math.inf]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]


def test_the_front_is_what_nothing_beats(tmp_path):
    study = run(tmp_path / "j", desk(), n_trials=16)
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    front = {
        one.number
        for one in complete
        if not any(
            other.values[0] >= one.values[0]
            and other.values[1] <= one.values[1]
            and other.values != one.values
            for other in complete
        )
    }
    assert front_of(study) == front
    assert 0 in front
    assert len(front) < len(complete)
    assert front_of(optuna.create_study()) is None


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "grid"])
def test_samplers_take_two_objectives(tmp_path, sampler):
    # What the others need: one method, choices in an order.
    space = SteeringConfig(methods=["caa"], directions=["caa"], strength=(-0.5, 0.5))
    study = run(tmp_path / "j", desk(), sampler=sampler, space=space, n_trials=8)
    assert len(study.trials) == 8
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_tpe_learns_what_is_over_the_budget(tmp_path):
    # A narrow range is within the budget, and nothing says so but the trials that are over it.
    space = steering((-4.0, 4.0))
    study = run(tmp_path / "j", desk(), space=space, n_trials=60, n_startup_trials=10)
    violations = [trial.user_attrs[KL] - BUDGET for trial in study.trials]
    early, late = violations[1:11], violations[-20:]
    within = sum(violation <= 0.0 for violation in late)
    assert within >= 5  # at random, one in twelve
    assert sum(late) / len(late) < sum(early) / len(early) / 4


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_kill_between_answers(tmp_path, sampler):
    whole = records(run(tmp_path / "whole", desk(), sampler=sampler))
    order = random.Random(0)
    for answers in (0, 3, 11, 20):  # each run goes so far, the last one to the end
        with pytest.raises(Killed):
            run(tmp_path / "j", desk(order=order, fail_at=(answers, Killed())), sampler=sampler)
    assert records(run(tmp_path / "j", desk(order=order), sampler=sampler)) == whole


def test_a_kill_while_a_cost_is_measured(tmp_path):
    whole = records(run(tmp_path / "whole", desk()))

    def mortal(costs):
        """Lives for so many costs."""
        left = iter(range(costs))

        def measured(candidate):
            if next(left, None) is None:
                raise Killed
            return cost(candidate)

        return measured

    for costs in (2, 4, 1, 1):
        with pytest.raises(Killed):
            run(tmp_path / "j", desk(), mortal(costs))
    assert records(run(tmp_path / "j", desk())) == whole


def test_a_study_in_a_database_is_the_same(tmp_path, monkeypatch):
    whole = records(run(tmp_path / "whole", desk()))
    monkeypatch.setenv(URL_VARIABLE, f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(Killed):
        run(tmp_path / "j", desk(fail_at=(9, Killed())))
    assert records(run(tmp_path / "j", desk())) == whole


def test_a_cost_that_cannot_be_measured_is_a_failure(tmp_path):
    def fails(candidate):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(tmp_path / "j", desk(), fails)
    study = run(tmp_path / "j", desk())
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert {trial.user_attrs["error"] for trial in failed} == {"ValueError: no"}


@pytest.fixture
def written(tmp_path):
    """A finished study's files."""
    journal = tmp_path / "journal.log"
    study = run(journal, desk(), n_trials=16)
    write_json(tmp_path / "worker_0.json", {"fingerprint": "x"})
    db, trials = tmp_path / "study.db", tmp_path / "trials.csv"
    collect(journal, [str(tmp_path / "worker_0.json")], 16, db, trials)
    return study, db, trials


def test_the_table_has_costs_and_the_front(written):
    study, _, trials = written
    rows = pd.read_csv(trials)
    assert [*rows["kl"]] == pytest.approx([t.user_attrs[KL] for t in study.trials])
    assert {*rows["number"][rows["on_front"]]} == front_of(study)
    refused = rows[rows["kl"] > BUDGET]
    assert {*refused["state"]} == {"PRUNED"}
    assert refused["accuracy"].isna().all()


def test_the_best_is_the_most_accurate_within_the_budget(written, tmp_path):
    study, db, _ = written
    probes = [tmp_path / f"layer_{layer}.json" for layer in LAYERS]
    for layer, probe in zip(LAYERS, probes, strict=True):
        write_json(probe, {"layer": layer})
    found = best_config(db, BASELINE, probes, seed=0, n_trials=16, rules=RULES)
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    best = max(complete, key=lambda t: (t.values[0], -t.values[1]))
    assert best.values[0] > 0.5
    assert (found["trial"], found["best_validation_score"]) == (best.number, best.values[0])
    told = found["kl"]
    assert (told["tested"], told["budget"]) == (best.values[1], BUDGET)
    assert "within the budget" in told["rule"]
    assert told["on_front"]
    assert {*told["front"]} == front_of(read_db(db)) == front_of(study)
    over = len(study.trials) - len(complete)
    assert told["over_budget"] == over
    assert f"{over} trials were over the budget of 0.1 nats per token" in found["why"]
    assert all(runner["kl"] <= BUDGET for runner in found["runners_up"])


def test_of_equals_the_one_that_costs_less_is_taken_whatever_its_dose():
    study = optuna.create_study(directions=["maximize", "minimize"])
    right = [0, 0] + [1, 0] * 7 + [1, 1] * 2  # two gained, one lost
    for dose, kl, outcomes in ((0.0, 0.0, [1, 0] * 10), (0.1, 0.05, right), (0.2, 0.02, right)):
        trial = trial_of(outcomes, dose)
        trial.values = [sum(outcomes) / 20, kl]
        trial.user_attrs[KL] = kl
        study.add_trial(trial)
    for one_standard_error in (False, True):
        assert best_steered(study.trials, one_standard_error).number == 2
    assert [t.number for t in rank_trials(study.trials, False)] == [2, 1, 0]
    assert [t.number for t in rank_trials(study.trials, True)] == [0, 2, 1]


def test_a_budget_that_no_steering_keeps_is_told(tmp_path):
    study = run(tmp_path / "j", desk(), lambda candidate: 1.0 + candidate.dose**2)
    with pytest.raises(
        UserError, match=r"All steered trials \(11\) are over search.kl_budget: .* 1"
    ):
        best_steered(study.trials, one_standard_error=False)
