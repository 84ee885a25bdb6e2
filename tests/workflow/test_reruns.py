"""Which rules a changed config value reruns: all that it affects, and no other."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.conftest import Finished
from tests.workflow.project import CONFIG, Project

pytestmark = pytest.mark.workflow

# A value that cannot matter is recorded all the same, and the report shows the record.
RECORD = Counter(provenance=1, report=1)
CONTROLS = Counter(controls=1) + RECORD
ELSEWHERE = Counter(off_target=1, test_final=1) + RECORD
HARNESS = Counter(harness=1, test_final=1) + RECORD
TEST = Counter(test_evaluation=1, off_target=1, test_final=1) + CONTROLS
CHOICE = Counter(best_config=1) + TEST
TRIALS = Counter(trials=1) + CHOICE
SEARCH = Counter(search=1) + TRIALS
GATE = Counter(zero_steering=1) + SEARCH
ANSWERS = Counter(baseline=1) + GATE
VECTORS = Counter(probe=2, vector=4) + GATE
ACTIVATIONS = Counter(activations=2) + VECTORS
PAIRS = Counter(contrast_pairs=2) + ACTIVATIONS
SPLITS = Counter(train_split=1, val_split=1, test_split=1, baseline=1) + PAIRS
# Of the pairs and activations, those of validation.
VALIDATION = SPLITS - Counter(train_split=1, contrast_pairs=1, activations=1)
MODEL = Counter(model_info=1, baseline=1) + ACTIVATIONS
ALL = Counter(official_data=2, model_info=1) + SPLITS

# Values of all kinds, zeros and ones among them: Snakemake compares parameters without names.
TABLE: dict[str, tuple[Any, Counter[str]]] = {
    "search.seed": (1, SEARCH),
    "search.n_trials": (6, SEARCH),
    "search.trials_in_flight": (3, SEARCH),
    "search.pruner": ("none", SEARCH),
    "search.one_standard_error": (True, CHOICE),
    "search.max_t": (False, CHOICE),
    "search.confirm": (0.5, Counter(confirmation=1) + SEARCH),
    "evaluation.margin": (0.05, TEST),
    "search.chunk_size": (3, ANSWERS),
    "steering.strength": ([-0.4, 0.4], GATE),
    "steering.directions": (["caa"], GATE),
    "steering.scope": ("all", GATE),
    "steering.operators": (["add", "clamp"], GATE),
    "steering.band": (2, GATE),
    "steering.gates": (["none", {"layer": 1}], Counter(gates=1) + GATE),
    "checks.prompts": (4, GATE),
    "steering.layers": ([1, 3], MODEL),
    "probe.c": (0.5, VECTORS),
    "pairs.read": ("last_token", ACTIVATIONS),
    "pairs.remove_token_means": (True, Counter(token_means=2) + VECTORS),
    "pairs.seed": (1, PAIRS),
    "pairs.samples": (4, RECORD),
    "training.epochs": (2, RECORD),
    "prompt.stop": (["Q"], ANSWERS),
    "prompt.template": ("Q {question}\nA", Counter(baseline=1) + ACTIVATIONS),
    "prompt.shots_seed": (1, Counter(baseline=1) + PAIRS),
    "generation.max_new_tokens": (5, ANSWERS),
    "engine.slots": (4, ANSWERS),
    "engine.name": ("reference", ANSWERS),
    "model.dtype": ("bfloat16", MODEL),
    "data.test": (7, Counter(test_split=1) + TEST),
    "data.train": (11, SPLITS),
    "data.val": (7, VALIDATION),
    "data.validation_from": ("test", VALIDATION),
    "data.near_duplicates": ("names", SPLITS),
    "data.unreadable_answers": ("leave_out", Counter(official_data=2) + SPLITS),
    "data.seed": (1, ALL - Counter(model_info=1)),
    "evaluation.bootstrap_resamples": (300, TEST),
    "evaluation.random_controls": (1, CONTROLS),
    "evaluation.ledger": ("reads elsewhere", RECORD),
    "off_target.in_report": (False, Counter(test_final=1) + RECORD),
    "off_target.task_file": ("problems/train.jsonl", ELSEWHERE),
    "off_target.harness_tasks": (["snake_choice"], HARNESS),
    "off_target.harness_limit": (3, HARNESS),
    "off_target.harness_folder": ("problems", HARNESS),
    "sensitivity.strengths": ([-0.1, 0.1], RECORD),
    "sensitivity.in_report": (True, Counter(sensitivity_grid=1, sensitivity=1) + RECORD),
}


@pytest.mark.parametrize("leaf", TABLE)
def test_a_leaf_reruns_what_it_affects(finished: Finished, leaf: str):
    value, rules = TABLE[leaf]
    section, key = leaf.split(".")
    tasks = {"harness_tasks": ["snake_choice"]} if key.startswith("harness_") else {}
    run = finished.project.snakemake("-n", overlay={section: {**tasks, key: value}})
    assert run.code == 0, run.text
    assert run.jobs == rules


def test_another_kind_of_pairs_makes_pairs_anew(finished: Finished):
    overlay = {"pairs": {"kind": "prompt_contrast", "read": "last_prompt_token"}}
    assert finished.project.snakemake("-n", overlay=overlay).jobs == PAIRS
    overlay = {"pairs": {"kind": "own_right_vs_wrong", "read": "response_mean"}}
    jobs = finished.project.snakemake("-n", overlay=overlay).jobs
    assert jobs == Counter(own_solutions=2) + PAIRS


def test_equal_configs_rerun_nothing(finished: Finished):
    one_for_one = {
        "evaluation": {"confidence": 0.95, "bootstrap_resamples": 200.0},
        "probe": {"c": 1},
        "steering": {"strength": ["-0.5", "0.5"]},
        "model": {"revision": None, "device": "cpu"},
    }
    assert finished.project.snakemake("-n", overlay=one_for_one).idle


def test_equal_layers_are_only_recorded_anew(finished: Finished):
    assert finished.project.snakemake("-n", overlay={"steering": {"layers": "1-2"}}).jobs == RECORD


def test_the_order_of_keys_reruns_nothing(finished: Finished, tmp_path: Path):
    turned = {name: dict(reversed(section.items())) for name, section in reversed(CONFIG.items())}
    assert list(turned) != list(CONFIG)
    project = finished.project.copy(tmp_path / "turned")
    text = yaml.safe_dump(turned, allow_unicode=True, sort_keys=False)
    (project.folder / "config" / "config.yaml").write_text(text, encoding="utf-8")
    assert project.snakemake("-n").idle


def test_later_config_files_and_config_win(finished: Finished, tmp_path: Path):
    def jobs(*arguments: str) -> Counter[str]:
        run = finished.project.snakemake("-n", *arguments)
        assert run.code == 0, run.text
        return run.jobs

    trials = tmp_path / "trials.yaml"
    trials.write_text("search: {n_trials: 6}\nprobe: {c: 0.5}\n", encoding="utf-8")
    as_before = tmp_path / "as_before.yaml"
    as_before.write_text("search: {n_trials: 5}\n", encoding="utf-8")
    assert jobs("--configfile", str(trials), str(as_before)) == VECTORS
    assert jobs("--configfile", str(as_before), "--config", "search={n_trials: 6}") == SEARCH


def edit(project: Project, module: str) -> Counter[str]:
    """Jobs that a dry run plans after a change in a library module."""
    path = project.folder / "snakesteer" / module
    path.write_text(path.read_text(encoding="utf-8") + "\n# Edited.\n", encoding="utf-8")
    run = project.snakemake("-n")
    assert run.code == 0, run.text
    return run.jobs


def test_code_reruns_what_it_affects(finished_copy: Project):
    grading = finished_copy.folder / "snakesteer" / "evaluation" / "grading.py"
    grading.touch()
    assert finished_copy.snakemake("-n").idle
    planned = edit(finished_copy, "report/summary.py")  # what is printed at the end is no result
    assert not planned
    for module in ("records/provenance.py", "records/content.py"):
        planned = edit(finished_copy, module)
        assert planned == RECORD
    planned = edit(finished_copy, "evaluation/statistics.py")
    assert planned == CHOICE
    planned = edit(finished_copy, "evaluation/grading.py")
    assert planned == ANSWERS


def test_deleted_files_are_made_anew_where_they_are_needed(finished_copy: Project):
    results = finished_copy.results
    (results / "pairs" / "train.jsonl").unlink()
    assert finished_copy.snakemake("-n").idle  # all that was made from it is there
    assert finished_copy.snakemake("-n", "results/pairs/train.jsonl").jobs == {"contrast_pairs": 1}
    (results / "activations" / "train" / "layer_2.h5").unlink()
    (results / "vectors" / "caa" / "layer_2.safetensors").unlink()
    wanted = "results/vectors/caa/layer_2.safetensors"
    planned = finished_copy.snakemake("-n", wanted).jobs
    assert planned == {"contrast_pairs": 1, "activations": 1, "probe": 1, "vector": 1}


# With trained vectors in a run, what its keys affect.
TRAINED = Counter(trained_vectors=2) + GATE
TRAINED_TABLE: dict[str, tuple[Any, Counter[str]]] = {
    "training.epochs": (2, TRAINED),
    "training.seed": (1, TRAINED),
    "training.learning_rate": (0.02, TRAINED),
    "training.objective": ("preference", Counter(training_solutions=1) + TRAINED),
    "steering.scope": ("all", TRAINED),
    "steering.strength": ([-0.4, 0.4], GATE),
    "pairs.seed": (1, PAIRS),
    "prompt.stop": (["Q"], ANSWERS),
    "generation.max_new_tokens": (5, ANSWERS),
    "engine.slots": (4, ANSWERS),
}


@pytest.fixture(scope="module")
def trained(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run with trained vectors."""
    project = finished.project.copy(tmp_path_factory.mktemp("trained") / "a project")
    path = project.folder / "config" / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["steering"]["directions"] = ["caa", "trained"]
    config["training"] = {"epochs": 1}
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    run = project.snakemake("--cores", "2", "--resources", "gpu=1")
    assert run.code == 0, run.text
    assert run.jobs == Counter(trained_vectors=2) + GATE
    return project


@pytest.mark.parametrize("leaf", TRAINED_TABLE)
def test_a_leaf_reruns_the_training_that_it_affects(trained: Project, leaf: str):
    value, rules = TRAINED_TABLE[leaf]
    section, key = leaf.split(".")
    if leaf == "pairs.seed":
        rules = rules - Counter(vector=2)  # one direction fewer is estimated
    run = trained.snakemake("-n", overlay={section: {key: value}})
    assert run.code == 0, run.text
    assert run.jobs == rules


def test_a_training_tells_what_it_did(trained: Project):
    for layer in (1, 2):
        log = trained.results / "training" / f"layer_{layer}.csv"
        assert log.read_text(encoding="utf-8").startswith("epoch,step,loss,held_out,dose")
    page = (trained.results / "report.html").read_text(encoding="utf-8")
    assert "How the vectors were trained" in page
    assert (trained.results / "figures" / "training.svg").exists()
    text = (trained.results / "methods.md").read_text(encoding="utf-8")
    assert "cross-entropy on the gold solutions" in text
