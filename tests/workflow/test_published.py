"""The overlays of published numbers, on a tiny model and problems of this disk."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakesteer.steering.vector import read_vector
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


def with_overlay(project: Project, name: str, *arguments: str) -> tuple[str, Path]:
    """Run Snakemake with an overlay and, over it, model, problems and sizes of the project.

    Returns:
        What Snakemake said, and the results folder.
    """
    small = project.folder / "small.yaml"
    small.write_text(yaml.safe_dump(HERE), encoding="utf-8")
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
