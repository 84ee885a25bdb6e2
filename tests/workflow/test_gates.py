"""Gates in whole runs: thresholds from train, a choice of the search, and what results say."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import torch

from snakesteer.config import GateConfig, PromptConfig
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import Prompter, split_examples
from snakesteer.records.files import read_json, read_jsonl
from snakesteer.steering.candidate import candidate_from_params
from snakesteer.steering.vector import read_vector
from tests.workflow.project import CONFIG, LAYERS, Project

pytestmark = pytest.mark.workflow

GATES = [
    {"layer": 0, "direction": "probe", "score": "projection", "quantile": 0.4},
    {"layer": 1, "side": "below", "when": "prompt", "quantile": 0.7},
]
STEERING = {"methods": ["caa"], "gates": ["none", *GATES]}
STUDY = Counter(zero_steering=1, search=1, trials=1, best_config=1)
TEST = Counter(test_evaluation=1, test_final=1, controls=1, off_target=1, provenance=1, report=1)


def threshold(project: Project, gate: GateConfig, model) -> float:
    """The quantile of scores, from HuggingFace's hidden states of one text at a time."""
    from transformers import AutoTokenizer

    prompt = PromptConfig(**CONFIG["prompt"])
    examples, rest = split_examples(
        read_problems(project.results / "splits" / "train.jsonl"), prompt.shots, prompt.shots_seed
    )
    tokenizer = AutoTokenizer.from_pretrained(project.folder / CONFIG["model"]["name"])
    prompter = Prompter(prompt, examples, tokenizer)
    file = project.results / "vectors" / gate.direction / f"layer_{gate.layer}.safetensors"
    v = read_vector(file).raw.astype(np.float64)
    scores = []
    for problem in rest:
        before = prompter.ids(problem.question)
        text = (
            before
            if gate.when == "prompt"
            else prompter.ids(problem.question, prompter.response(problem.answer))
        )
        with torch.no_grad():
            states = model(torch.tensor([text]), output_hidden_states=True).hidden_states
        for h in states[gate.layer + 1][0, len(before) - 1 :].double().numpy():
            along = h @ v / np.linalg.norm(v)
            scores.append(along / np.linalg.norm(h) if gate.score == "cosine" else along)
    return float(np.quantile(scores, gate.quantile))


def test_a_run_with_gates(finished_copy: Project):
    from transformers import AutoModelForCausalLM

    overlay = {"steering": STEERING, "search": {"n_trials": 9}}
    run = finished_copy.snakemake("--cores", "2", "--resources", "gpu=1", overlay=overlay)
    assert run.code == 0, run.text
    # A gate looks at a layer that is not steered: activations are read there, too.
    assert run.jobs["gates"] == 1
    assert (STUDY + Counter(activations=2)).items() <= run.jobs.items()
    assert "baseline" not in run.jobs
    model = AutoModelForCausalLM.from_pretrained(
        finished_copy.folder / CONFIG["model"]["name"], dtype=torch.float32
    )
    told = {each["name"]: each for each in read_json(finished_copy.results / "gates.json")["gates"]}
    gates = [GateConfig(**each) for each in GATES]
    assert {*told} == {gate.name for gate in gates}
    for gate in gates:
        assert told[gate.name]["threshold"] == pytest.approx(
            threshold(finished_copy, gate, model), rel=1e-3
        )
    with (finished_copy.results / "study" / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {bool(row["gate"]) for row in rows} == {True, False}
    for row in rows:
        assert bool(row["steered_share"]) == (
            bool(row["gate"]) and float(row["steering_alpha"]) != 0
        )
    kinds = read_json(finished_copy.results / "checks" / "zero_steering.json")["kinds"]
    assert {*kinds} == {"no steering", "caa", *(f"caa gate {gate.name}" for gate in gates)}


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.get("when", "token"))
def test_a_gate_that_is_chosen_is_tested_told_and_exported(finished_copy: Project, gate: dict):
    overlay = {"steering": {"methods": ["caa"], "gates": [gate]}, "search": {"n_trials": 6}}
    arguments = ("--cores", "2", "--resources", "gpu=1")
    run = finished_copy.snakemake("all", "export", "off_target", *arguments, overlay=overlay)
    assert run.code == 0, run.text
    results = finished_copy.results
    best = candidate_from_params(read_json(results / "best_config.json")["best_trial_params"])
    [told] = read_json(results / "gates.json")["gates"]
    assert best.gate is not None
    assert (best.gate.threshold, best.gate.name) == (told["threshold"], told["name"])
    final = read_json(results / "test_final.json")
    rows = list(read_jsonl(results / "test_generations.jsonl"))
    shares = [row["steered_steered_share"] for row in rows]
    assert final["steered_share"] == pytest.approx(
        np.average(shares, weights=[row["steered_new_tokens"] for row in rows])
    )
    if best.gate.when == "prompt":
        assert {*shares} <= {0.0, 1.0}
    for row, share in zip(rows, shares, strict=True):
        if share == 0.0:
            assert row["steered_text"] == row["baseline_text"]
    written = json.loads((results / "export" / "manifest.json").read_text())
    assert {*written["written"]} == {"canonical"}
    assert all("there is a gate" in why for why in written["refused"].values())
    methods = (results / "methods.md").read_text(encoding="utf-8")
    assert "a gate after CAST [@lee2024cast]" in methods
    assert "lee2024cast" in (results / "references.bib").read_text(encoding="utf-8")
    assert f"{best.gate.side} {best.gate.threshold:.3g} (the {best.gate.quantile:g}" in methods
    assert "gate let" in methods


def test_a_gate_behind_a_steered_layer_is_refused_before_the_run(finished_copy: Project):
    run = finished_copy.snakemake("-n", overlay={"steering": {"gates": [{"layer": LAYERS[1]}]}})
    assert run.code != 0
    assert f"has a gate at layer {LAYERS[1]}, behind layer {LAYERS[0]}" in run.text
