"""Operators, bands and ActAdd in whole runs."""

import ast
import csv
from collections import Counter

import pytest

from snakesteer.records.files import read_json
from snakesteer.steering.candidate import candidate_from_params
from snakesteer.steering.vector import read_vector
from tests.workflow.project import LAYERS, Project

pytestmark = pytest.mark.workflow

TEST = Counter(test_evaluation=1, test_final=1, provenance=1)
STUDY = Counter(zero_steering=1, search=1, trials=1, best_config=1)
PROMPTS = ["Think step by step.", "Guess."]


def trials_of(project: Project) -> list[dict[str, str]]:
    with (project.results / "study" / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_operators_and_bands_need_no_other_vectors_or_baseline(finished_copy: Project):
    steering = {"methods": ["caa"], "operators": ["clamp", "ablate"], "band": 2}
    steering |= {"scope": "generated_window", "generated_window": [1, 6]}
    overlay = {"steering": steering, "search": {"n_trials": 6}}
    run = finished_copy.snakemake("study", "--cores", "2", "--resources", "gpu=1", overlay=overlay)
    assert run.code == 0, run.text
    assert run.jobs == STUDY
    rows = trials_of(finished_copy)
    assert {row["operator"] for row in rows} == {"clamp", "ablate"}
    assert {row["generated_window"] for row in rows} == {"[1, 6]"}
    for row in rows:
        assert tuple(ast.literal_eval(row["band_layers"])) == LAYERS
        alphas = ast.literal_eval(row["band_alphas"])
        assert alphas[0] == pytest.approx(float(row["steering_alpha"]))
        if row["operator"] == "ablate":  # the share is the same at all layers
            assert alphas == [float(row["steering_dose"])] * len(LAYERS)
            continue
        for layer, alpha in zip(LAYERS, alphas, strict=True):
            name = f"{row['steering_direction']}/layer_{layer}.safetensors"
            vector = read_vector(finished_copy.results / "vectors" / name)
            assert vector.dose(alpha) == pytest.approx(float(row["steering_dose"]), abs=1e-9)
    best = read_json(finished_copy.results / "best_config.json")
    assert candidate_from_params(best["best_trial_params"]).generated_window == (1, 6)
    gate = read_json(finished_copy.results / "checks" / "zero_steering.json")["kinds"]
    assert gate["caa ablate"]["places_steered"] > 0


def test_too_wide_a_band_is_refused(finished_copy: Project):
    run = finished_copy.snakemake("-n", overlay={"steering": {"band": 3}})
    assert run.code != 0
    assert "steering.band is 3, but steering.layers are 2: [1, 2]" in run.text


def test_compilation_that_is_refused_is_told(finished_copy: Project):
    overlay = {"model": {"device": "auto"}, "engine": {"compile": "always"}}
    told = (
        "engine.compile is always, but operators, bands, several vectors, gates and attention heads"
    )
    for steering, count in (({"operators": ["clamp"]}, 1), ({"methods": ["iti"]}, 1), ({}, 0)):
        plan = {**overlay, "steering": steering}
        run = finished_copy.snakemake("splits", "--cores", "1", "--forceall", overlay=plan)
        assert run.code == 0, run.text
        assert run.text.count(told) == count


def test_several_vectors_at_once_from_the_search_to_the_report(finished_copy: Project):
    parts = [
        {"direction": "caa", "layer": 1},
        {"direction": "probe", "layer": 1, "weight": -0.5, "operator": "rotate", "scope": "all"},
        {"direction": "caa", "layer": 2, "scope": "at_tokens", "at_tokens": "[A-M ]"},
    ]
    steering = {"methods": ["together", "caa"], "together": parts}
    overlay = {"steering": steering, "search": {"n_trials": 6, "seed": 3}}
    run = finished_copy.snakemake("--cores", "2", "--resources", "gpu=1", overlay=overlay)
    assert run.code == 0, run.text
    assert (STUDY + TEST).items() <= run.jobs.items()
    assert not {"activations", "vector", "probe", "baseline"} & set(run.jobs)
    rows = [row for row in trials_of(finished_copy) if row["steering_method"] == "together"]
    assert rows
    for row in rows:
        first, (second, third) = float(row["steering_dose"]), ast.literal_eval(row["further"])
        assert (second["operator"], third["at_tokens"]) == ("rotate", "[A-M ]")
        assert second["steering_dose"] == pytest.approx(-0.5 * first)
        assert third["steering_dose"] == pytest.approx(first)
    gate = read_json(finished_copy.results / "checks" / "zero_steering.json")["kinds"]
    assert gate["together"]["places_steered"] > 0
    final = read_json(finished_copy.results / "test_final.json")
    assert candidate_from_params(final["best_trial_params"]).params() == final["best_trial_params"]
    elsewhere = [{**part, "layer": 3} for part in parts]
    wrong = {"steering": {**steering, "together": elsewhere}}
    refused = finished_copy.snakemake("-n", overlay=wrong)
    assert refused.code != 0
    assert "steering.together[0].layer is 3, and steering.layers are [1, 2]" in refused.text


def test_actadd_takes_the_baseline_as_it_is(finished_copy: Project):
    steering = {"methods": ["actadd"], "actadd_prompts": PROMPTS, "strength": [-3, 3]}
    overlay = {"steering": steering}
    run = finished_copy.snakemake("--cores", "2", "--resources", "gpu=1", overlay=overlay)
    assert run.code == 0, run.text
    assert (Counter(actadd_vectors=1) + STUDY + TEST).items() <= run.jobs.items()
    assert not {"activations", "vector", "probe", "baseline"} & set(run.jobs)
    final = read_json(finished_copy.results / "test_final.json")
    assert final["run"]["engine"] == "slots"
    shapes = {
        read_vector(finished_copy.results / f"vectors/actadd/layer_{layer}.safetensors").raw.shape
        for layer in LAYERS
    }
    assert len(shapes) == 1
    rows = trials_of(finished_copy)
    assert {row["scope"] for row in rows} == {"prompt_start"}
    assert {row["steering_direction"] for row in rows} == {"actadd"}
    assert len({row["steering_alpha"] for row in rows}) > 2
    # Other prompts make other vectors, and what comes of them.
    other = {"steering": {**steering, "actadd_prompts": ["Add.", "Subtract."]}}
    jobs = finished_copy.snakemake("-n", overlay=other).jobs
    assert (Counter(actadd_vectors=1) + STUDY + TEST).items() <= jobs.items()
    assert "baseline" not in jobs
