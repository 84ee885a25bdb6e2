"""The overlays of published numbers, on a tiny model and problems of this disk."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from snakesteer.records.files import read_json, read_jsonl, write_jsonl
from snakesteer.steering.vector import read_vector
from snakesteer.vectors.activations import read_activations
from tests.tiny_models import save_tiny_model
from tests.workflow.project import CHECKOUT, CONFIG, Project

pytestmark = pytest.mark.workflow

OVERLAYS = sorted(path.stem for path in (CHECKOUT / "config" / "published").glob("*.yaml"))
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
HERE: dict[str, dict[str, Any]] = {
    "model": CONFIG["model"] | {"num_layers": None},
    "data": CONFIG["data"],
    "prompt": {"stop": CONFIG["prompt"]["stop"]},
    "generation": CONFIG["generation"],
    "training": {"epochs": 1, "samples": 2, "problems_per_step": 6},
}
# What is another thing on a tiny model: it has no block 20, and no token that is a blank line.
SEAL = "seal-r1-distill-qwen-1.5b"
ELSEWHERE: dict[str, dict[str, Any]] = {
    SEAL: {
        "steering": {"layers": [1], "at_tokens": "[a-m\n]$"},
        "pairs": {"min_pairs": 2},
        "training": {},
    }
}
SOLUTION = "So {n}.\n\nWait, {n}?\n\nYes.\n\nAnother way: {n}.\n\nIt is {n}."


def with_overlay(project: Project, name: str, *arguments: str) -> tuple[str, Path]:
    """Run Snakemake with an overlay and, over it, model, problems and sizes of the project.

    Returns:
        What Snakemake said, and the results folder.
    """
    small = project.folder / "small.yaml"
    here = HERE | ELSEWHERE.get(name, {})
    small.write_text(yaml.safe_dump(here), encoding="utf-8")
    overlay = f"config/published/{name}.yaml"
    run = project.snakemake(*arguments, "--configfile", overlay, small.name)
    assert run.code == 0, run.text
    return run.text, project.folder / "results" / name


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_plans_a_whole_run(fresh_copy: Project, name: str):
    said, results = with_overlay(fresh_copy, name, "-n")
    assert f"results/{name}/test_final.json" in said
    assert not results.exists()


def test_rewards_train_all_layers_and_the_search_takes_them_or_not(fresh_copy: Project):
    model = save_tiny_model(fresh_copy.folder / "tiny model", "llama", num_hidden_layers=2)
    (model / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    name = "sinii-qwen2.5-1.5b"
    target = f"results/{name}/best_config.json"
    _, results = with_overlay(fresh_copy, name, target, "--cores", "2", "--resources", "gpu=1")
    with (results / "training" / "band.csv").open(encoding="utf-8") as file:
        log = list(csv.DictReader(file))
    assert [row["epoch"] for row in log] == ["0", "1", "1"]
    for layer in range(2):
        vector = read_vector(results / "vectors" / "trained" / f"layer_{layer}.safetensors")
        assert (vector.direction, vector.layer) == ("trained", layer)
        assert vector.norm > 0.0
    with (results / "study" / "trials.csv").open(encoding="utf-8") as file:
        strengths = {float(row["steering_alpha"]) for row in csv.DictReader(file)}
    assert strengths == {0.0, 1.0}
    best = json.loads((results / "best_config.json").read_text(encoding="utf-8"))
    assert best["best_trial_params"]["steering_alpha"] in strengths


def test_thoughts_become_a_vector_at_blank_lines(fresh_copy: Project):
    """The model is random, so that its solutions are put in the place of its own."""
    folder = fresh_copy.folder / "results" / SEAL
    made = [f"results/{SEAL}/solutions/{split}.jsonl" for split in ("train", "val")]
    arguments = ("--cores", "2", "--resources", "gpu=1")
    with_overlay(fresh_copy, SEAL, *made, *arguments)
    for split in ("train", "val"):
        problems = read_jsonl(folder / "splits" / f"{split}.jsonl")
        rows = [
            {
                **{name: problem[name] for name in ("id", "question")},
                "text": SOLUTION.format(n=number) if number else "It is 0.",
                "correct": number % 2 == 0,
            }
            for number, problem in enumerate(problems)
        ]
        write_jsonl(folder / "solutions" / f"{split}.jsonl", rows)
    target = f"results/{SEAL}/best_config.json"
    with_overlay(fresh_copy, SEAL, target, *arguments, "--rerun-triggers", "mtime")
    vector = read_vector(folder / "vectors" / "seal_apart" / "layer_1.safetensors")
    found = read_activations(folder / "activations" / "train" / "layer_1.h5")
    counts = {kind: count for kind, (count, _) in found.groups.items()}
    pairs = len(found.ids)
    assert pairs == len(read_jsonl(folder / "splits" / "train.jsonl")) - 1
    assert counts == {"execution": 2 * pairs, "reflection": pairs, "transition": pairs}
    means = {kind: mean for kind, (_, mean) in found.groups.items()}
    wanted = means["execution"] - means["reflection"] - means["transition"]
    np.testing.assert_allclose(vector.raw, wanted, rtol=1e-5, atol=1e-5)
    best = read_json(folder / "best_config.json")["best_trial_params"]
    assert (best["steering_alpha"], best["scope"]) == (0.5, "at_tokens")
