"""A whole run with methods that steer attention heads, and what their config reruns."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from safetensors import safe_open

from snakesteer.steering.vector import read_head_vector
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

OVERLAY = {
    "steering": {"methods": ["dac_heads", "iti"], "strength": [-1.0, 1.0], "dac_kl": "per_token"},
    "heads": {"prompts": 5, "examples": 2, "steps": 3, "iti_heads": 6},
    "search": {"n_trials": 6, "pruner": "none"},
}
TEST = Counter(test_evaluation=1, off_target=1, test_final=1)
SEARCH = Counter(zero_steering=1, search=1, trials=1, best_config=1) + TEST
FINAL = "results/test_final.json"


def overlay(section: str, **changes: object) -> dict[str, dict[str, object]]:
    return {**OVERLAY, section: {**OVERLAY[section], **changes}}


def test_attention_heads_from_config_to_test(fresh_copy: Project):
    run = fresh_copy.snakemake(FINAL, overlay=OVERLAY)
    assert run.code == 0, run.text
    wanted = Counter(dac_heads=1, head_activations=2, iti=1)
    assert wanted == {rule: run.jobs[rule] for rule in wanted}
    assert "vector" not in run.jobs  # no method takes one
    results = fresh_copy.results
    headers = {}
    for method, steps in (("dac_heads", 3), ("iti", 1)):
        with safe_open(results / "heads" / f"{method}.safetensors", framework="numpy") as file:
            assert file.get_slice("delta").get_shape() == [steps, 4, 32]
            headers[method] = json.loads(file.metadata()["header"])
        assert headers[method]["model"] == "tiny model"
        assert headers[method]["dose_at_alpha_1"] > 0.0
    assert headers["dac_heads"]["answers_by_step"]["right"][0] == 5
    assert len(headers["iti"]["steered"]) == 6
    gate = (results / "checks" / "zero_steering.json").read_text()
    assert all(f'"{method}": {{' in gate for method in headers)
    with (results / "study" / "trials.csv").open(encoding="utf-8") as stream:
        trials = list(csv.DictReader(stream))
    assert [row["state"] for row in trials] == ["COMPLETE"] * 6
    assert {row["steering_method"] for row in trials} == {"dac_heads", "iti"}
    assert {row["scope"] for row in trials} == {"dynamic", "fixed"}
    assert float(trials[0]["steering_alpha"]) == 0.0
    for row in trials:
        dynamic = row["steering_method"] == "dac_heads"
        assert bool(row["ptop"]) == bool(row["max_alpha"]) == dynamic
        dose = float(row["steering_alpha"]) * headers[row["steering_method"]]["dose_at_alpha_1"]
        assert float(row["steering_dose"]) == pytest.approx(dose)
    best = json.loads((results / "best_config.json").read_text())
    final = json.loads((results / "test_final.json").read_text())
    assert final["best_trial_params"] == best["best_trial_params"]
    assert best["best_trial_params"]["layer_id"] == 1  # the first of steering.layers: its probe
    assert best["validation_probe_metrics"]["layer"] == 1
    baseline = json.loads((results / "baseline" / "val.json").read_text())
    assert final["run"]["engine"] == baseline["engine"] == "slots"

    planned = {
        ("heads", "seed", 1): Counter(dac_heads=1) + SEARCH,
        ("heads", "iti_heads", 5): Counter(iti=1) + SEARCH,
        ("steering", "heads_after", "zero"): SEARCH,
    }
    assert fresh_copy.snakemake(FINAL, "-n", overlay=OVERLAY).idle
    for (section, key, value), rules in planned.items():
        run = fresh_copy.snakemake(FINAL, "-n", overlay=overlay(section, **{key: value}))
        assert run.code == 0, run.text
        assert run.jobs == rules, (section, key)

    before = read_head_vector(results / "heads" / "iti.safetensors")
    adjusted = {**OVERLAY, "pairs": {"remove_token_means": True}}
    run = fresh_copy.snakemake("results/heads/iti.safetensors", overlay=adjusted)
    assert run.code == 0, run.text
    assert run.jobs == {"head_token_means": 1, "iti": 1}
    after = read_head_vector(results / "heads" / "iti.safetensors")
    assert not np.array_equal(after.delta, before.delta)
