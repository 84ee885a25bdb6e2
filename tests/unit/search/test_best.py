"""best_config.json: what was chosen, whether to steer, and why."""

import json

import optuna
import pytest

from snakesteer.records.files import write_json
from snakesteer.search.best import best_config
from snakesteer.search.journal import STUDY_NAME
from snakesteer.search.selection import Rules
from tests.unit.search.fakes import answers_of, trial_of

BASELINE = [1, 0] * 10
RULES = Rules(one_standard_error=False, max_t=False, level=0.05)


@pytest.fixture
def files(tmp_path):
    db = tmp_path / "study.db"
    storage = f"sqlite:///{db}"
    study = optuna.create_study(study_name=STUDY_NAME, storage=storage, direction="maximize")
    better = [1, 0] * 5 + [1] * 10
    study.add_trials(
        [
            trial_of(BASELINE, 0.0),
            trial_of(better, 0.4, layer=3),
            trial_of(better, 0.2),
            trial_of([0], 0.3, state="FAIL"),
        ]
    )
    probes = []
    for layer in (2, 3):
        probes.append(tmp_path / f"layer_{layer}.json")
        probes[-1].write_text(json.dumps({"layer": layer, "auc": layer / 10}))
    return db, probes


def test_best_config_says_what_and_why(files):
    db, probes = files
    found = best_config(db, answers_of(BASELINE), probes, seed=7, n_trials=8, rules=RULES)
    assert found["best_trial_params"] == {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": 2,
        "steering_alpha": 2.0,
        "steering_dose": 0.2,
        "scope": "all",
    }
    assert (found["trial"], found["best_validation_score"]) == (2, 0.75)
    assert (found["baseline_validation_score"], found["validation_problems"]) == (0.5, 20)
    assert found["recommendation"] == "steer"
    assert (found["max_t_p"], found["confirmation"]) == (None, None)
    lead = found["validation_lead"]
    assert (lead["difference"], lead["gained"], lead["lost"]) == (0.25, 5, 0)
    assert found["validation_probe_metrics"] == {"layer": 2, "auc": 0.2}
    assert [runner["trial"] for runner in found["runners_up"]] == [1, 0]
    assert found["trials"] == {"COMPLETE": 3, "FAIL": 1}
    assert found["random_seed"] == 7
    assert found["why"] == (
        "trial 2 has the highest accuracy on 20 validation problems: +25.0 points against no "
        "steering."
    )
    assert {"commit", "dirty"} <= set(found["git"])
    assert {"python", "torch", "optuna"} <= set(found["versions"])
    json.dumps(found, allow_nan=False)


def test_what_is_not_recommended_is_tested_all_the_same(files, tmp_path):
    db, probes = files
    rules = Rules(one_standard_error=True, max_t=True, level=0.05)
    found = best_config(db, answers_of(BASELINE), probes, 7, 8, rules)
    # Five gains of twenty problems: 1/32 for one trial, and these two trials are one.
    assert found["recommendation"] == "steer"
    assert found["max_t_p"] == pytest.approx(1 / 32, abs=0.006)
    rules = Rules(one_standard_error=True, max_t=True, level=0.01)
    found = best_config(db, answers_of(BASELINE), probes, 7, 8, rules)
    assert (found["recommendation"], found["trial"]) == ("leave alone", 2)
    assert found["best_trial_params"]["steering_alpha"] == 2.0
    assert "corrected for the number of steered trials (2) p = 0.03" in found["why"]
    lead = {"difference": 0.05, "standard_error": 0.05, "gained": 2, "lost": 1, "problems": 20}
    write_json(tmp_path / "confirmation.json", {"trial": 2, "lead": lead})
    found = best_config(
        db, answers_of(BASELINE), probes, 7, 8, RULES, tmp_path / "confirmation.json"
    )
    assert (found["recommendation"], found["confirmation"]) == ("leave alone", lead)
    assert "on 20 others it has +5.0 points" in found["why"]


def test_more_trials_than_asked_for_all_count_and_it_is_said(files):
    db, probes = files
    fewer, as_many = (best_config(db, answers_of(BASELINE), probes, 7, n, RULES) for n in (2, 3))
    assert (fewer["trial"], fewer["trials"]) == (as_many["trial"], as_many["trials"])
    more = " The study has 3 finished trials, and search.n_trials asks for 2: all 3 were compared."
    assert fewer["why"] == as_many["why"] + more
