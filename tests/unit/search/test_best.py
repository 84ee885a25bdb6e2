"""The choice of the best trial."""

import json

import optuna
import pytest

from snakesteer.search.best import best_config, rank_trials
from snakesteer.search.journal import STUDY_NAME
from tests.unit.search.fakes import answers_of

PROBLEMS = 100


def trial(value, dose, layer=2, state="COMPLETE", layers=1, **more):
    params = {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": layer,
        "steering_alpha": 10 * dose,
        "steering_dose": dose,
        "scope": "all",
        **more,
    }
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        value=value if state == "COMPLETE" else None,
        user_attrs={**params, "steered_layers": layers, "error": "x"},
    )


def numbered(*trials):
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study.trials


def order(trials, one_standard_error=False):
    return [t.number for t in rank_trials(trials, PROBLEMS, one_standard_error)]


def test_accuracy_then_dose_then_number():
    trials = numbered(
        trial(0.5, 0.0), trial(0.6, -0.4), trial(0.6, 0.3), trial(0.6, -0.3), trial(0.4, 0.1)
    )
    assert order(trials) == [2, 3, 1, 0, 4]


def test_pruned_and_failed_trials_are_never_chosen():
    trials = numbered(trial(0.1, 0.0), trial(0.9, 0.1, state="PRUNED"), trial(0, 0, state="FAIL"))
    assert order(trials) == [0]


def test_one_standard_error():
    # At 0.6 of 100 the standard error is 0.049.
    trials = numbered(trial(0.54, 0.0), trial(0.56, 0.1), trial(0.6, 0.4), trial(0.58, -0.2))
    assert order(trials) == [2, 3, 1, 0]
    assert order(trials, one_standard_error=True) == [1, 2, 3, 0]
    close = numbered(trial(0.56, 0.0), trial(0.6, 0.4))
    assert order(close, one_standard_error=True) == [0, 1]


def test_every_steered_layer_has_the_dose():
    """Of a band, or with heads that are steered: 0.01 at 24 layers is more than 0.2 at one."""
    band = trial(0.6, 0.2, layers=2, band_layers=[2, 3])
    assert order(numbered(band, trial(0.6, 0.3), trial(0.6, 0.5))) == [1, 0, 2]
    heads = trial(0.6, 0.01, layers=24, steering_method="iti")
    assert order(numbered(heads, trial(0.6, 0.2), trial(0.6, 0.3))) == [1, 0, 2]
    dac = trial(0.6, 0.01, layers=24, steering_method="dac_heads", max_alpha=2.0)
    assert order(numbered(dac, heads, trial(0.6, 0.47))) == [1, 2, 0]


@pytest.fixture
def files(tmp_path):
    db = tmp_path / "study.db"
    storage = f"sqlite:///{db}"
    study = optuna.create_study(study_name=STUDY_NAME, storage=storage, direction="maximize")
    study.add_trials(
        [trial(0.5, 0.0), trial(0.75, 0.4, layer=3), trial(0.75, 0.2), trial(0, 0.3, state="FAIL")]
    )
    probes = []
    for layer in (2, 3):
        probes.append(tmp_path / f"layer_{layer}.json")
        probes[-1].write_text(json.dumps({"layer": layer, "auc": layer / 10}))
    return db, probes


def test_best_config_says_what_and_why(files):
    db, probes = files
    found = best_config(db, answers_of([1, 0, 1, 0]), probes, seed=7, one_standard_error=False)
    assert found["best_trial_params"] == {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": 2,
        "steering_alpha": 2.0,
        "steering_dose": 0.2,
        "scope": "all",
    }
    assert (found["trial"], found["best_validation_score"]) == (2, 0.75)
    assert (found["baseline_validation_score"], found["validation_problems"]) == (0.5, 4)
    assert found["validation_probe_metrics"] == {"layer": 2, "auc": 0.2}
    assert [runner["trial"] for runner in found["runners_up"]] == [1, 0]
    assert found["trials"] == {"COMPLETE": 3, "FAIL": 1}
    assert found["random_seed"] == 7
    assert "smallest dose of 2 equals" in found["why"]
    assert {"commit", "dirty"} <= set(found["git"])
    assert {"python", "torch", "optuna"} <= set(found["versions"])
    json.dumps(found, allow_nan=False)


def test_no_steering_under_the_one_standard_error_rule(files):
    db, probes = files
    # Of four problems, 0.75 is uncertain by 0.22: not enough for a dose.
    found = best_config(db, answers_of([1, 0, 1, 0]), probes, seed=7, one_standard_error=True)
    assert found["trial"] == 2  # 0.5 lies below 0.53
    assert "smallest dose of 2 equals" in found["why"]
    study = optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{db}")
    study.add_trial(trial(0.6, 0.0))
    found = best_config(db, answers_of([1, 0, 1, 0]), probes, seed=7, one_standard_error=True)
    assert (found["trial"], found["best_trial_params"]["steering_alpha"]) == (4, 0.0)
    assert found["why"].startswith("no steering has the smallest dose within one standard error")
