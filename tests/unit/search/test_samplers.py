"""Every sampler with every pruner, on answers that depend on the dose alone."""

import random
import warnings

import numpy as np
import optuna
import pytest
from optuna.samplers import GPSampler, TPESampler
from optuna.trial import TrialState

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.search.grid import check_sampler, grid_points
from snakesteer.search.journal import open_study
from snakesteer.search.plan import Plan
from snakesteer.search.samplers import make_pruner, make_sampler
from snakesteer.search.study import run_study
from snakesteer.steering.space import suggest
from snakesteer.steering.vector import Vector
from tests.fake_search import accuracy_at, is_correct
from tests.unit.search.fakes import FakeDesk, answers_of, records

SAMPLERS = ("tpe", "random", "gp", "qmc", "cmaes", "grid")
PRUNERS = ("median", "successive_halving", "hyperband", "wilcoxon", "none")
LAYERS = (1, 3, 5)
VECTORS = {("caa", n): Vector("caa", n, np.ones(4, np.float32), 2.0) for n in LAYERS}
CAA = SteeringConfig(methods=["caa"], directions=["caa"], strength=(-0.5, 0.5))
CHUNKS, CHUNK = 5, 8
NUMBERS = range(CHUNKS * CHUNK)

pytestmark = pytest.mark.usefixtures("quiet_optuna")


def desk(order=None, fail_at=(-1, None)):
    """By the dose, every layer alike."""
    return FakeDesk(lambda c, number: is_correct(number, c.dose), CHUNK, order, fail_at)


def run(journal, sampler, pruner, answers, steering=CAA, **changes):
    fixed = {"n_trials": 13, "n_startup_trials": 4, "pruner_startup_trials": 2, "chunk_size": CHUNK}
    search = SearchConfig(sampler=sampler, pruner=pruner, **{**fixed, **changes})
    check_sampler(search, steering, LAYERS)
    baseline = answers_of(is_correct(n, 0.0) for n in NUMBERS)
    study = open_study(journal, "x", make_pruner(search, CHUNKS), workers=1)
    run_study(study, Plan(search, steering, LAYERS, VECTORS, baseline, 3, rows=CHUNK), answers)
    return study


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_is_one_study_whatever_comes_first_and_pruning_saves_tokens(
    tmp_path, sampler, pruner
):
    answers = desk()
    study = run(tmp_path / "a", sampler, pruner, answers)
    shuffled = run(tmp_path / "b", sampler, pruner, desk(random.Random(sampler + pruner)))
    assert records(shuffled) == records(study)
    trials = study.trials
    assert len(trials) == 13
    steered = [t for t in trials if t.user_attrs["steering_alpha"] != 0.0]
    points = {tuple(sorted(t.params.items())) for t in steered}
    assert len(points) == len(steered)
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert bool(pruned) == (pruner != "none")
    for trial in trials:
        seen = trial.user_attrs["problems"]
        assert (seen < len(NUMBERS)) == (trial.state == TrialState.PRUNED)
        # Seven tokens an answer: those of pruned trials' remaining chunks do not count.
        assert trial.user_attrs["new_tokens"] == seen * 7
        assert trial.user_attrs["accuracy_by_chunk"] == [
            accuracy_at(trial.user_attrs["steering_dose"], n) for n in range(8, seen + 1, 8)
        ]
    # One answer at a time: no queue runs dry, so that nothing is answered early.
    assert answers.answered == sum(t.user_attrs["problems"] for t in steered)
    assert (answers.answered < len(steered) * len(NUMBERS)) == (pruner != "none")
    # The best of all is never pruned.
    best = max(accuracy_at(t.user_attrs["steering_dose"], len(NUMBERS)) for t in trials)
    assert study.best_value == best


@pytest.mark.parametrize("fail_at", [None, 0, 30, 70])
def test_the_grid_covers_its_points_whatever_fails(tmp_path, fail_at):
    settings = {"n_trials": 13, "grid_points": 5}
    if fail_at is not None:
        failing = desk(fail_at=(fail_at, RuntimeError("boom")))
        with pytest.raises(RuntimeError):
            run(tmp_path / "j", "grid", "none", failing, **settings)
    study = run(tmp_path / "j", "grid", "none", desk(), **settings)
    ended = [t.params for t in study.trials if t.state == TrialState.COMPLETE]
    wanted = grid_points(SearchConfig(grid_points=5), CAA, LAYERS)
    assert len(ended) == 13
    assert ended[0]["steering_dose"] == 0.0
    steered = [params for params in ended if params["steering_dose"] != 0.0]
    as_text = [sorted(str(sorted(p.items())) for p in points) for points in (steered, wanted)]
    assert as_text[0] == as_text[1]


def test_a_grid_of_dac(tmp_path):
    steering = SteeringConfig(methods=["dac"], directions=["caa"], strength=(-0.5, 0.5))
    study = run(tmp_path / "j", "grid", "none", desk(), steering, n_trials=9, grid_points=2)
    assert {t.params["entropy_threshold"] for t in study.trials[1:]} == {0.0, 2.0}
    assert all(t.user_attrs["steering_method"] == "dac" for t in study.trials)


def test_model_based_samplers_find_the_dose(tmp_path):
    for sampler in ("tpe", "gp", "cmaes"):
        study = run(tmp_path / sampler, sampler, "none", desk(), n_trials=30)
        doses = [t.user_attrs["steering_dose"] for t in study.trials]
        early, late = doses[1:8], doses[-7:]
        assert np.abs(np.subtract(late, 0.2)).mean() < np.abs(np.subtract(early, 0.2)).mean()


def test_tpe_does_not_mix_up_the_doses_of_two_methods():
    """CAA helps at positive doses, DAC at negative ones, and each as much as the other.

    Whoever looks at methods and doses one by one learns nothing from that, and is right half of the
    time. Of 100 proposals, three standard errors are 15 points.
    """
    steering = SteeringConfig(methods=["caa", "dac"], directions=["caa"], strength=(-0.5, 0.5))
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def fits(candidate):
        return (candidate.dose > 0.0) == (candidate.method == "caa")

    shared = {"steering_direction": "caa", "layer_id": 3}
    for step in range(60):
        # In turn, so that the best trials are as often of one method as of the other.
        method, sign = ("caa", "dac")[step % 2], (1, -1, -1, 1)[step % 4]
        dose = {"steering_dose": sign * (0.05 + 0.4 * step / 60)}
        study.enqueue_trial({"steering_method": method, **shared, **dose})
        trial = study.ask()
        study.tell(trial, 0.6 if fits(suggest(trial, steering, LAYERS, VECTORS)) else 0.3)
    settings = SearchConfig(n_startup_trials=10)
    share = {"ours": [], "one by one": []}
    for seed in range(100):
        for kind, sampler in (
            ("ours", make_sampler(settings, seed, in_parallel=True)),
            ("one by one", TPESampler(n_startup_trials=10, seed=seed, multivariate=False)),
        ):
            study.sampler = sampler
            trial = study.ask()
            share[kind].append(fits(suggest(trial, steering, LAYERS, VECTORS)))
            study.tell(trial, state=TrialState.FAIL)
    assert np.mean(share["one by one"]) < 0.65
    assert np.mean(share["ours"]) > 0.65


def test_a_gaussian_process_alone_would_repeat_a_pruned_point():
    """Why there is a sampler of our own: when this fails, it can go."""
    study = optuna.create_study(direction="maximize")
    space = optuna.distributions.FloatDistribution(0.0, 1.0)
    for x in (0.0, 0.5, 0.3, 0.9):
        value = -abs(x - 0.45)
        study.add_trial(
            optuna.create_trial(params={"x": x}, distributions={"x": space}, value=value)
        )
    ours = SearchConfig(sampler="gp", n_startup_trials=1)
    drawn = {"plain": [], "ours": []}
    for seed in range(4):
        for kind, sampler in (
            ("plain", GPSampler(seed=seed, n_startup_trials=1)),
            ("ours", make_sampler(ours, seed, in_parallel=False)),
        ):
            study.sampler = sampler
            trial = study.ask({"x": space})
            drawn[kind].append(trial.params["x"])
            trial.report(0.0, 1)
            study.tell(trial, state=TrialState.PRUNED)
    assert np.ptp(drawn["plain"]) < 1e-3
    points = sorted([drawn["plain"][0], *drawn["ours"]])
    assert min(np.diff(points)) > 1e-3


def test_no_warnings_of_experimental_parts():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for sampler in SAMPLERS:
            make_sampler(SearchConfig(sampler=sampler), 0, True)
        for pruner in PRUNERS:
            make_pruner(SearchConfig(pruner=pruner), 3)
