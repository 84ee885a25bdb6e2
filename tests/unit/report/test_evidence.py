"""What a run found, read from its files."""

import optuna
import pytest

from snakesteer.errors import UserError
from snakesteer.evaluation.statistics import wilson
from snakesteer.report.evidence import MIN_TRIALS_FOR_IMPORTANCE, importance, read_evidence
from tests.unit.report.runs import VAL, write_run


def test_arms(report):
    arms = report("helps").evidence.arms
    assert [arm.kind for arm in arms] == [
        *("unsteered", "steered", *["random"] * 5, *["shuffled"] * 5, "negative", "prompt")
    ]
    unsteered, steered, first = arms[:3]
    assert steered.difference == pytest.approx(steered.accuracy - unsteered.accuracy)
    assert steered.verdict == "helps"
    assert steered.p_holm is None
    assert [arm.label for arm in arms[2:]] == [
        *(f"Random direction {number}" for number in range(1, 6)),
        *(f"Shuffled labels {number}" for number in range(1, 6)),
        *("Opposite direction", "Prompt only"),
    ]
    assert first.p_holm is not None


def test_arms_of_a_run_that_recommends_no_steering_are_the_same(report):
    evidence = report("left alone").evidence
    assert evidence.best["recommendation"] == evidence.test["recommendation"] == "leave alone"
    kinds = [arm.kind for arm in evidence.arms]
    assert kinds == [arm.kind for arm in report("helps").evidence.arms]
    assert evidence.params["steering_alpha"] != 0.0


def test_trials_and_failures(report):
    evidence = report("helps").evidence
    assert list(evidence.failures) == [4]
    assert "RuntimeError" in evidence.failures[4]
    assert [point.trial for point in evidence.trials] == [n for n in range(30) if n != 4]
    pruned = [point for point in evidence.trials if point.pruned]
    assert pruned
    assert {point.problems for point in pruned} == {16}
    finished = next(p for p in evidence.trials if p.trial == 1)
    assert finished.problems == VAL
    assert finished.accuracy_ci == wilson(round(finished.accuracy * VAL), VAL, 0.95)
    steered = [point for point in evidence.trials if point.alpha]
    for point in steered:
        mean = 0.8 if point.method == "dac" else 1.0
        assert point.delivered == pytest.approx(mean * point.dose)
    assert {point.method for point in steered} == {"caa", "dac"}


def test_the_grid(report):
    points = report("on a grid").evidence.sensitivity
    assert len(points) == 2 * 3 * 7
    assert all(low <= p.accuracy <= high for p in points for low, high in [p.accuracy_ci])
    assert report("helps").evidence.sensitivity is None


def study(trials: int, value) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial):
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        trial.suggest_categorical("one", ["only"])
        return value(x, y)

    found.optimize(objective, n_trials=trials)
    return found


def test_importance_is_that_of_what_matters():
    found = importance(study(60, lambda x, y: x))
    assert list(found) == ["x", "y"]
    assert found["x"] > 0.8
    assert sum(found.values()) == pytest.approx(1.0)


def test_no_importance_of_noise():
    assert importance(study(MIN_TRIALS_FOR_IMPORTANCE - 1, lambda x, y: x)) is None
    assert importance(study(MIN_TRIALS_FOR_IMPORTANCE, lambda x, y: 0.5)) is None


def test_a_missing_file_is_named(tmp_path):
    run = write_run(tmp_path / "run", trials=2)
    (tmp_path / "run" / "best_config.json").unlink()
    with pytest.raises(UserError, match=r"best_config\.json cannot be read: it does not exist"):
        read_evidence(**run.paths())


@pytest.mark.parametrize("content", ["", "number;state;accuracy\n0;COMPLETE;0.5\n"])
def test_trials_that_are_none_are_refused(tmp_path, content):
    run = write_run(tmp_path / "run", trials=2)
    (tmp_path / "run" / "study" / "trials.csv").write_text(content)
    with pytest.raises(UserError, match=r"trials\.csv is not a table of trials. Delete it"):
        read_evidence(**run.paths())
