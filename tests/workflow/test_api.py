"""The workflow from Python: the example that users of the older pipeline know."""

import json
import string

import pytest

from snakesteer import GSM8KOptimizationPipeline, OptimizationConfig, UserError
from snakesteer.records.files import sha256_file
from tests import warm
from tests.tiny_models import save_tiny_model
from tests.workflow.project import TEST_ROWS, TRAIN_ROWS, problem_rows, write_rows

pytestmark = pytest.mark.workflow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a tiny model and problems, but neither workflow nor config nor profile."""
    folder = tmp_path / "ein Möbel"
    rows = problem_rows()
    write_rows(folder / "problems" / "train.jsonl", rows[:TRAIN_ROWS])
    write_rows(folder / "problems" / "test.jsonl", rows[-TEST_ROWS:])
    save_tiny_model(folder / "tiny model", "llama")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, value in warm.environment().items():
        monkeypatch.setenv(name, value)
    return folder


def config(**values) -> OptimizationConfig:
    """A config for a model of random weights that says capital letters before it is done."""
    return OptimizationConfig(
        model_name="tiny model",
        train_limit=10,
        val_limit=6,
        test_limit=6,
        layer_search_range=(1, 2),
        steering_methods=["caa"],
        n_trials=3,
        max_new_tokens=6,
        temperature=0.0,  # deterministic
        do_sample=False,
        **values,
        overrides={
            "data": {"source": "folder", "folder": "problems", "near_duplicates": "numbers"},
            "prompt": {"shots": 1, "stop": [*string.ascii_uppercase]},
            "steering": {"strength": [-0.5, 0.5]},
            "evaluation": {"bootstrap_resamples": 200},
        },
    )


def test_the_example(folder, capfd):
    pipeline = GSM8KOptimizationPipeline(config())
    results = pipeline.run_optimization()

    print(f"Optimal steering α: {results['best_trial_params']['steering_alpha']:.4f}")
    print(f"Improvement: {results['accuracy_improvement']:+.4f}")

    made = folder / "results" / "gsm8k"
    assert results["output_dir"] == str(made)
    final = json.loads((made / "test_final.json").read_text(encoding="utf-8"))
    assert {**final, "output_dir": str(made)} == results
    metrics = [results[f"{name}_benchmark_metrics"] for name in ("baseline", "steered")]
    assert [each["total_samples"] for each in metrics] == [6, 6]
    change = metrics[1]["accuracy"] - metrics[0]["accuracy"]
    assert results["accuracy_improvement"] == pytest.approx(change)
    assert results["best_trial_params"]["layer_id"] in (1, 2)
    assert results["config"]["generation"]["max_new_tokens"] == 6
    record = json.loads((made / "provenance.json").read_text(encoding="utf-8"))
    assert set(record["seeds"].values()) == {42}
    assert "Verdict: " in capfd.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.json*")}

    assert GSM8KOptimizationPipeline(config()).run_optimization() == results
    assert "Nothing to be done" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.json*")} == before

    weights = folder / "tiny model" / "model.safetensors"
    assert record["model"]["sha256"]["model.safetensors"] == sha256_file(weights)

    # A rule that fails says why, and where its log is.
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="model 'tiny model' cannot be loaded") as failed:
        pipeline.run_optimization()
    assert "exit status 1, rule " in failed.value.problem
    assert "results/gsm8k/logs/" in failed.value.remedy
