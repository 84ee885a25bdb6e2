"""What samplers and pruners see: the study as it was when a trial was asked for, and no more."""

import random

import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.trial import TrialState

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.search.asking import BESIDE
from snakesteer.search.journal import open_study
from snakesteer.search.plan import Plan
from snakesteer.search.snapshot import snapshot
from snakesteer.search.study import run_study
from tests.unit.search.fakes import LAYERS, VECTORS, FakeDesk, answers_of

CHUNKS, CHUNK = 3, 2
STEERING = SteeringConfig(methods=["caa", "dac"], directions=["caa", "probe"], strength=(-0.5, 0.5))
N_TRIALS = 12


def seen_of(study, number):
    """What a sampler or pruner can look at, but for the trial that it is asked about."""
    return [
        (t.number, t.state, t.values, t.intermediate_values, bool(t.params))
        for t in study.get_trials()
        if t.number != number
    ]


class LastFirst(FakeDesk):
    """The last trials end first."""

    def ask(self, candidate, chunk, priority):
        return super().ask(candidate, chunk, -priority)


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("kind", ["in order", "last first", "shuffled"])
def test_a_trial_knows_the_results_told_before_its_turn(tmp_path, monkeypatch, in_flight, kind):
    asked, judged = {}, {}

    class Sampler(optuna.samplers.RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            asked.setdefault(trial.number, seen_of(study, trial.number))
            return super().sample_independent(study, trial, name, distribution)

    class Pruner(NopPruner):
        def prune(self, study, trial):
            judged.setdefault(trial.number, []).append(
                (seen_of(study, trial.number), [*trial.intermediate_values])
            )
            return trial.number % 4 == 3 and trial.last_step == 1

    seeds = iter(range(100))
    monkeypatch.setattr("snakesteer.search.asking.make_sampler", lambda *_: Sampler(next(seeds)))
    search = SearchConfig(n_trials=N_TRIALS, chunk_size=CHUNK, trials_in_flight=in_flight)
    study = open_study(tmp_path / "j", "x", Pruner(), workers=1)
    desk = LastFirst if kind == "last first" else FakeDesk
    order = random.Random(in_flight) if kind == "shuffled" else None
    plan = Plan(search, STEERING, LAYERS, VECTORS, answers_of([1, 0] * CHUNKS), in_flight, rows=4)
    run_study(study, plan, desk(lambda c, n: c.dose > 0.1 * n, CHUNK, order))
    whole = study.trials
    assert {t.number for t in whole if t.state == TrialState.PRUNED} == {3, 7, 11}
    assert sorted(asked) == [*range(1, N_TRIALS)]  # trial 0 is given
    assert sorted(judged) == [*range(1, N_TRIALS)]
    for number in range(1, N_TRIALS):
        told = max(0, number - in_flight + 1)
        assert whole[number].user_attrs[BESIDE] == [*range(told, number)]
        wanted = [
            *((t.number, t.state, t.values, t.intermediate_values, True) for t in whole[:told]),
            *((t, TrialState.RUNNING, None, {}, True) for t in range(told, number)),
        ]
        assert asked[number] == wanted
        # After the first chunk, and after the second; the last one ends the trial anyway.
        assert judged[number] == [(wanted, [0]), (wanted, [0, 1])]


def test_a_snapshot_is_a_study_of_its_own():
    study = optuna.create_study(study_name="it", direction="maximize")
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(0.5, 0)
        study._storage.set_trial_system_attr(trial._trial_id, "completed_rung_0", 0.5)
        study.tell(trial, 0.1 * number)
    before = study.trials
    view = snapshot(study, study.get_trials(deepcopy=False), beside=[1])
    view._storage.set_trial_system_attr(1, "y", 1)
    view.tell(view.ask(), 0.5)
    assert study.trials == before
    first, second, third = view.trials[:3]
    assert [first, third] == [before[0], before[2]]
    assert (second.state, second.params) == (TrialState.RUNNING, before[1].params)
    assert (second.values, second.intermediate_values, second.system_attrs) == (None, {}, {"y": 1})
