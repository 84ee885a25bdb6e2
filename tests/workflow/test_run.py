"""A whole run: its files, what it says, and what a second run does."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import optuna
import pytest
from safetensors.numpy import load_file

from snakesteer.records.files import sha256_file
from snakesteer.steering.vector import read_vector
from snakesteer.vectors.activations import read_activations
from tests.workflow.conftest import Finished
from tests.workflow.project import CONFIG, DIRECTIONS, LAYERS, Project, read_rows

pytestmark = pytest.mark.workflow

FIGURES = (
    "accuracy",
    "difference",
    "dose",
    "layer_dose",
    "history",
    "importance",
    "probes",
)
FILES = {
    *(f"data/{part}.jsonl" for part in ("train", "test")),
    *(f"splits/{split}.jsonl" for split in ("train", "val", "test")),
    "splits/manifest.json",
    "model/info.json",
    *(f"pairs/{split}.jsonl" for split in ("train", "val")),
    *(f"activations/{s}/layer_{layer}.h5" for s in ("train", "val") for layer in LAYERS),
    *(f"probes/layer_{layer}.{kind}" for layer in LAYERS for kind in ("json", "safetensors")),
    *(f"vectors/{d}/layer_{layer}.safetensors" for d in DIRECTIONS for layer in LAYERS),
    "baseline/val.jsonl",
    "baseline/val.json",
    "study/worker_0.json",
    "study/study.db",
    "study/trials.csv",
    "best_config.json",
    "test_evaluation.json",
    "test_final.json",
    "test_generations.jsonl",
    "checks/zero_steering.json",
    "controls.json",
    "control_generations.jsonl",
    "off_target.json",
    "off_target.jsonl",
    "provenance.json",
    "report.html",
    "methods.md",
    "references.bib",
    *(f"figures/{figure}.{kind}" for figure in FIGURES for kind in ("png", "svg")),
}


@pytest.fixture(scope="module")
def results(finished: Finished) -> Path:
    return finished.project.results


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_files_are_those_of_the_file_graph(results: Path):
    aside = ("logs/", "benchmarks/", "study/journal.log")
    found = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith(aside)} == FILES


def test_splits_share_nothing(results: Path):
    manifest = load(results / "splits" / "manifest.json")
    splits = {name: read_rows(results / "splits" / f"{name}.jsonl") for name in manifest["splits"]}
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 12, "val": 8, "test": 8}
    for name, rows in splits.items():
        assert manifest["splits"][name]["ids"] == [row["id"] for row in rows]
        path = results / "splits" / f"{name}.jsonl"
        assert manifest["splits"][name]["file_sha256"] == sha256_file(path)
    assert set(manifest["overlaps"]) == {"train/val", "train/test", "val/test"}
    assert all(shared == {"exact": 0, "near": 0} for shared in manifest["overlaps"].values())
    masked = [re.sub(r"\d+", "0", row["question"]) for rows in splits.values() for row in rows]
    assert len(set(masked)) == 28


def test_pairs_are_of_their_split_and_leave_out_the_shot(results: Path):
    for split, count in (("train", 11), ("val", 8)):
        pairs = read_rows(results / "pairs" / f"{split}.jsonl")
        ids = {row["id"] for row in read_rows(results / "splits" / f"{split}.jsonl")}
        assert len(pairs) == count
        assert {pair["id"] for pair in pairs} <= ids
        assert all(pair["positive"] != pair["negative"] for pair in pairs)


def file_of(results: Path, split: str, layer: int) -> Path:
    """An activation file."""
    return results / "activations" / split / f"layer_{layer}.h5"


def test_activations_say_where_they_come_from(results: Path):
    for split, count in (("train", 11), ("val", 8)):
        ids = [pair["id"] for pair in read_rows(results / "pairs" / f"{split}.jsonl")]
        for layer in LAYERS:
            with h5py.File(file_of(results, split, layer)) as file:
                assert [text.decode() for text in file["id"][:]] == ids
                assert file["positive"].shape == file["negative"].shape == (count, 32)
                assert np.isfinite(file["positive"][:]).all()
                assert not np.array_equal(file["positive"][:], file["negative"][:])
            attributes = read_activations(file_of(results, split, layer)).attributes
            assert attributes["layer"] == layer
            assert attributes["model"] == "tiny model"
            assert attributes["dtype"] == "torch.float32"
            assert attributes["read"] == "first_difference"
            assert re.fullmatch(r"[0-9a-f]{64}", attributes["template_sha256"])


def test_the_caa_vector_is_the_mean_difference(results: Path):
    for layer in LAYERS:
        with h5py.File(file_of(results, "train", layer)) as file:
            difference = file["positive"][:].astype(np.float64) - file["negative"][:]
        path = results / "vectors" / "caa" / f"layer_{layer}.safetensors"
        vector = read_vector(path)
        assert (vector.direction, vector.layer) == ("caa", layer)
        raw, unit = vector.raw, load_file(path)["unit"]
        np.testing.assert_allclose(raw, difference.mean(axis=0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(unit, raw / np.linalg.norm(raw), rtol=1e-5)


def test_probes_are_scored(results: Path):
    for layer in LAYERS:
        metrics = load(results / "probes" / f"layer_{layer}.json")
        assert metrics["layer"] == layer
        assert all(0 <= metrics[k] <= 1 for k in ("auc", "accuracy", "precision", "recall", "f1"))


def test_the_noise_floor_leaves_the_baselines_record_alone(results: Path):
    baseline, final = load(results / "baseline" / "val.json"), load(results / "test_final.json")
    slots = baseline["slots"]
    assert final["run"]["slots"] == slots
    floor = baseline["noise_floor"]
    assert floor["setting"] == f"{slots // 2} slots instead of {slots}"
    assert floor["n"] == baseline["total_samples"]
    assert "What changes by rounding" in (results / "report.html").read_text(encoding="utf-8")


def test_the_study_is_complete(results: Path):
    url = f"sqlite:///{results / 'study' / 'study.db'}"
    trials = optuna.load_study(study_name=None, storage=url).trials
    assert len(trials) == CONFIG["search"]["n_trials"]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert trials[0].user_attrs["steering_alpha"] == 0.0
    assert trials[0].value == load(results / "baseline" / "val.json")["accuracy"]
    with (results / "study" / "trials.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["number"]) for row in rows] == [trial.number for trial in trials]
    assert [row["state"] for row in rows] == [trial.state.name for trial in trials]
    alphas = [trial.user_attrs["steering_alpha"] for trial in trials]
    assert [float(row["steering_alpha"]) for row in rows] == pytest.approx(alphas)
    for row in rows:
        dynamic = row["scope"] == "dynamic" and float(row["steering_alpha"]) != 0.0
        assert bool(row["mean_alpha_t"]) == dynamic
        wanted = abs(float(row["steering_dose"])) * float(row["mean_alpha_t"] or 1.0)
        assert float(row["delivered_dose"]) == pytest.approx(wanted)
    assert any(float(row["mean_alpha_t"] or 0.0) > 0.0 for row in rows)


def test_the_best_config_is_the_best_trial(results: Path):
    best = load(results / "best_config.json")
    with (results / "study" / "trials.csv").open(encoding="utf-8") as stream:
        complete = [row for row in csv.DictReader(stream) if row["state"] == "COMPLETE"]
    top = max(float(row["accuracy"]) for row in complete)
    dose = min(abs(float(r["steering_dose"])) for r in complete if float(r["accuracy"]) == top)
    assert best["best_validation_score"] == top
    assert abs(best["best_trial_params"]["steering_dose"]) == pytest.approx(dose)
    assert best["baseline_validation_score"] == load(results / "baseline" / "val.json")["accuracy"]
    assert best["random_seed"] == 0
    assert best.keys() >= {"git", "versions", "created", "why", "runners_up", "trials"}
    assert best["validation_probe_metrics"]["layer"] == best["best_trial_params"]["layer_id"]


def test_the_final_test_agrees_with_its_generations(results: Path):
    final, best = load(results / "test_final.json"), load(results / "best_config.json")
    rows = read_rows(results / "test_generations.jsonl")
    test = read_rows(results / "splits" / "test.jsonl")
    assert final["best_trial_params"] == best["best_trial_params"]
    assert final["best_validation_score"] == best["best_validation_score"]
    assert final["num_test_samples"] == len(rows) == 8
    assert [row["id"] for row in rows] == [row["id"] for row in test]
    for name in ("baseline", "steered"):
        correct = sum(row[f"{name}_correct"] for row in rows)
        metrics = final[f"{name}_benchmark_metrics"]
        assert (metrics["correct"], metrics["total_samples"]) == (correct, 8)
        assert metrics["accuracy"] == correct / 8
    gained = sum(row["steered_correct"] > row["baseline_correct"] for row in rows)
    lost = sum(row["steered_correct"] < row["baseline_correct"] for row in rows)
    assert (final["mcnemar"]["gained"], final["mcnemar"]["lost"]) == (gained, lost)
    assert 0 < final["mcnemar"]["p_value"] <= 1
    assert final["accuracy_improvement"] == pytest.approx((gained - lost) / 8)
    groups = final["by_steps"]
    assert [sum(group[key] for group in groups) for key in ("n", "gained", "lost")] == [
        *(8, gained, lost)
    ]
    low, high = final["accuracy_improvement_ci"]
    assert low <= final["accuracy_improvement"] <= high
    assert final["confidence"] == 0.95
    assert 0 <= final["test_probe_metrics"]["auc"] <= 1
    assert final["test_probe_metrics"]["pairs"] == 8
    assert final["config"]["generation"]["max_new_tokens"] == 6
    wanted = abs(final["best_trial_params"]["steering_dose"]) * final.get("mean_alpha_t", 1.0)
    assert final["delivered_dose"] == pytest.approx(wanted)


def test_what_steering_does_elsewhere_is_recorded(results: Path):
    record, final = load(results / "off_target.json"), load(results / "test_final.json")
    assert record.pop("best_trial_params") == final["best_trial_params"]
    assert (final["off_target"], final["harness"]) == (record, None)
    neutral, answers = record["neutral"], record["test_answers"]
    assert (neutral["texts"], neutral["start_tokens"]) == (40, 8)
    low, high = neutral["kl"]["ci"]
    assert 0.0 < low < neutral["kl"]["estimate"] < high
    rows = read_rows(results / "off_target.jsonl")
    assert len(rows) == 40
    mean = np.mean([row["kl"] for row in rows])
    assert neutral["kl"]["estimate"] == pytest.approx(mean)
    assert answers["right_before"] == final["baseline_benchmark_metrics"]["correct"]
    for side in ("baseline", "steered"):
        length = final[f"{side}_benchmark_metrics"]["mean_new_tokens"]
        assert answers[f"{side}_mean_new_tokens"] == length
    assert record["second_task"] is None
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "What steering does elsewhere" in page
    assert "Off target" in (results / "methods.md").read_text(encoding="utf-8")


def test_every_generation_is_told_in_full(results: Path):
    shot = {row["question"] for row in read_rows(results / "splits" / "train.jsonl")}
    for row in read_rows(results / "test_generations.jsonl"):
        prompt = row["prompt"]
        assert prompt.endswith(f"Question: {row['question']}\nAnswer:")
        assert sum(question in prompt for question in shot) == 1
        assert "<<" not in prompt
        for name in ("baseline", "steered"):
            assert isinstance(row[f"{name}_text"], str)
            assert isinstance(row[f"{name}_correct"], bool)
            assert row[f"{name}_finish"] in ("eos", "stop", "length")
            assert 0 < row[f"{name}_new_tokens"] <= 6
            extracted = row[f"{name}_extracted"]
            assert row[f"{name}_correct"] == (extracted == row["gold"])


def test_provenance_names_every_file_by_its_hash(results: Path):
    record = load(results / "provenance.json")
    for path, sha256 in record["sha256"].items():
        assert sha256_file(results.parent / path) == sha256, path
    named = {path.removeprefix("results/") for path in record["sha256"]}
    assert named >= {"test_final.json", "test_generations.jsonl", "best_config.json"}
    assert named >= {"off_target.json", "off_target.jsonl"}
    assert named >= {name for name in FILES if name.startswith("vectors/")}
    assert record["config"]["search"]["n_trials"] == 5
    assert record["config"]["search"]["sampler"] == "tpe"  # a default
    assert record["seeds"]["data.seed"] == 0
    assert record["versions"].keys() >= {"python", "torch", "transformers", "snakemake"}
    assert record["model"]["num_layers"] == 4


def test_every_job_has_a_log(finished: Finished):
    said = finished.search.text + finished.rest.text
    blocks = re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)+)", said, re.M)
    jobs = [(rule, block) for rule, block in blocks if rule not in ("all", "study")]
    assert len(jobs) == sum((finished.search.jobs + finished.rest.jobs).values())
    for rule, block in jobs:
        log = re.search(r"^ {4}log: (.*)$", block, re.M)
        assert log, rule
        assert (finished.project.folder / log[1]).is_file(), rule


def test_the_terminal_tells_the_result(finished: Finished, results: Path):
    final = load(results / "test_final.json")
    end = finished.rest.text
    assert "Tested: " in end
    assert f"Recommendation: {final['recommendation']}" in end
    assert f"Test accuracy (n = 8): {final['baseline_benchmark_metrics']['accuracy']:.1%}" in end
    assert f"Verdict: {final['verdict']}" in end
    assert "Details: results/test_final.json" in end


def test_a_second_run_has_nothing_to_do(finished: Finished):
    assert finished.project.snakemake().idle
    assert finished.project.snakemake("results/test_final.json").idle


def test_without_arguments_the_default_profile_gives_the_cores(finished_copy: Project):
    final, evaluation, generations = (
        finished_copy.results / name
        for name in ("test_final.json", "test_evaluation.json", "test_generations.jsonl")
    )
    before = generations.read_bytes(), load(final)
    final.unlink()
    evaluation.unlink()
    run = finished_copy.snakemake("results/test_final.json")
    assert run.code == 0, run.text
    assert run.jobs == {"test_evaluation": 1, "off_target": 1, "test_final": 1}
    again = load(final)
    assert again["test_reads"]["final"] == {"reads": 2, "configurations": 1}
    again["test_reads"] = before[1]["test_reads"]
    assert (generations.read_bytes(), again) == before  # the same answers again


def test_another_results_folder_leaves_the_first_alone(finished_copy: Project):
    def state(folder: Path) -> dict[Path, tuple[int, str]]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, sha256_file(path)) for path in files}

    before = state(finished_copy.results)
    other = ("--config", "results=other results", "data={train: 10}")
    run = finished_copy.snakemake("splits", *other)
    assert run.code == 0, run.text
    splits = {"train_split": 1, "val_split": 1, "test_split": 1}
    assert run.jobs == {"official_data": 2, **splits}
    assert len(read_rows(finished_copy.folder / "other results" / "splits" / "train.jsonl")) == 10
    assert state(finished_copy.results) == before
    assert finished_copy.snakemake("-n").idle


def test_the_reference_engine_runs_too(finished_copy: Project):
    overlay = {"engine": {"name": "reference"}, "steering": {"methods": ["caa"]}}
    run = finished_copy.snakemake("results/test_final.json", overlay=overlay)
    assert run.code == 0, run.text
    choice = ("baseline", "zero_steering", "search", "trials", "best_config")
    assert run.jobs == dict.fromkeys([*choice, "test_evaluation", "off_target", "test_final"], 1)
    assert load(finished_copy.results / "test_final.json")["run"]["engine"] == "reference"


def test_the_report_is_made(finished: Finished, tmp_path: Path):
    report = tmp_path / "report.html"
    run = finished.project.snakemake("--report", str(report))
    assert run.code == 0, run.text
    assert "test_final" in report.read_text(encoding="utf-8")


def test_lint_has_no_findings(fresh: Project):
    run = fresh.snakemake("--lint")
    assert run.code == 0, run.text
    assert "in a good condition" in run.text
