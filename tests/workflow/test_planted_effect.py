"""A whole run on a model in which steering is known to help: that is found, and no control does."""

import csv
import json
from pathlib import Path

import pytest

from tests.planted import EASY, LAYER, planted_rows, save_planted_model
from tests.workflow.conftest import Finished
from tests.workflow.project import Project, read_rows, write_rows

pytestmark = pytest.mark.workflow

TRAIN_ROWS = 50
OVERLAY = {
    "model": {"name": "planted model"},
    "data": {"train": 24, "val": 24, "test": 60},
    "prompt": {"template": "{question}", "answer_template": "{answer}", "shots": 0},
    "pairs": {"kind": "model_correct_vs_wrong", "read": "last_token", "temperature": 1.0},
    "generation": {"max_new_tokens": 3},
    "steering": {
        "methods": ["caa"],
        "directions": ["caa"],
        "layers": [LAYER],
        "strength": [-0.3, 0.3],
    },
    "search": {"sampler": "grid", "grid_points": 5, "n_trials": 5, "chunk_size": 12},
    "sensitivity": {"strengths": [-0.15, 0.05, 0.15]},
}


def load(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the whole run."""
    project = fresh.copy(tmp_path_factory.mktemp("planted") / "a project")
    save_planted_model(project.folder / "planted model", "helps")
    rows = planted_rows()
    write_rows(project.folder / "problems" / "train.jsonl", rows[:TRAIN_ROWS])
    write_rows(project.folder / "problems" / "test.jsonl", rows[TRAIN_ROWS:])
    run = project.snakemake("all", "sensitivity", overlay=OVERLAY)
    assert run.code == 0, run.text
    assert run.jobs["controls"] == run.jobs["sensitivity"] == 1
    assert "Verdict: helps" in run.text
    return project.results


def test_the_effect_is_found(results: Path):
    final = load(results / "test_final.json")
    easy = sum(int(row["gold"]) in EASY for row in read_rows(results / "splits" / "test.jsonl"))
    assert final["verdict"] == "helps"
    assert final["baseline_benchmark_metrics"]["correct"] == easy
    assert final["steered_benchmark_metrics"]["correct"] == 60
    assert final["mcnemar"]["gained"] == 60 - easy
    assert final["mcnemar"]["lost"] == 0
    assert final["accuracy_improvement"] > final["minimum_detectable_effect"]
    # The smallest dose of the grid that is enough: ±0.15 and ±0.3 were tried.
    assert final["best_trial_params"]["steering_dose"] == pytest.approx(0.15)


def test_the_controls_show_none(results: Path):
    record, final = load(results / "controls.json"), load(results / "test_final.json")
    words = {entry["name"]: entry["verdict"] for entry in record["controls"]}
    nothing = "no detectable effect at n = 60"
    assert words.pop("negative") in (nothing, "hurts")
    assert set(words) == {*(f"random_{i}" for i in range(1, 6)), "shuffled", "prompt"}
    assert set(words.values()) == {nothing}
    assert record["chosen"]["verdict"] == "helps"
    assert record["chosen"]["accuracy"] == final["steered_benchmark_metrics"]["accuracy"]
    assert record["random_directions"]["below_chosen"] == 5
    assert record["reason"] is None
    assert record["run"] == final["run"]
    told = read_rows(results / "control_generations.jsonl")
    assert len(told) == 8 * 60
    for entry in record["controls"]:
        rows = [row for row in told if row["control"] == entry["name"]]
        assert sum(row["correct"] for row in rows) / 60 == entry["accuracy"]
    log = (results / "logs" / "controls.log").read_text(encoding="utf-8")
    assert "above 5 of 5 random directions" in log


def test_sensitivity_shows_it_on_validation(results: Path):
    with (results / "sensitivity.csv").open(encoding="utf-8") as stream:
        rows = {round(float(row["dose"]), 3): row for row in csv.DictReader(stream)}
    assert list(rows) == [-0.15, 0.0, 0.05, 0.15]
    assert float(rows[0.15]["accuracy"]) == 1.0
    assert rows[0.0]["accuracy"] == rows[0.05]["accuracy"]  # too little to turn an answer
    assert float(rows[-0.15]["accuracy"]) <= float(rows[0.0]["accuracy"]) < 0.5
    baseline = load(results / "baseline" / "val.json")
    assert float(rows[0.0]["accuracy"]) == baseline["accuracy"]
    log = (results / "logs" / "sensitivity.log").read_text(encoding="utf-8")
    assert "The best strength is" in log
    assert "more than one standard error" in log


def test_without_steering_there_is_nothing_to_control(finished: Finished, tmp_path: Path):
    project = finished.project.copy(tmp_path / "unsteered")
    best = project.results / "best_config.json"
    record = load(best)
    record["best_trial_params"].update(steering_alpha=0.0, steering_dose=0.0)
    best.write_text(json.dumps(record), encoding="utf-8")
    targets = ("results/controls.json", "--allowed-rules", "controls", "test_final")
    run = project.snakemake(*targets)
    assert run.code == 0, run.text
    made = load(project.results / "controls.json")
    assert (made["chosen"], made["controls"]) == (None, [])
    assert "no steering" in made["reason"]
    assert (project.results / "control_generations.jsonl").read_bytes() == b""


@pytest.fixture(scope="module")
def reinforced(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole runs with vectors that learn from rewards, all layers together, by effect."""
    found = {}
    for effect in ("helps", "cannot"):
        project = fresh.copy(tmp_path_factory.mktemp(effect) / "a project")
        save_planted_model(project.folder / "planted model", effect)
        rows = planted_rows()
        write_rows(project.folder / "problems" / "train.jsonl", rows[:TRAIN_ROWS])
        write_rows(project.folder / "problems" / "test.jsonl", rows[TRAIN_ROWS:])
        overlay = {
            **OVERLAY,
            "pairs": {},
            "steering": {
                "methods": ["caa"],
                "directions": ["trained"],
                "layers": "all",
                "strength": [-0.3, 0.3],
            },
            "training": {
                "objective": "reinforce",
                "epochs": 8,
                "samples": 12,
                "learning_rate": 0.1,
                "max_dose": 0.3,
            },
            "search": {"n_trials": 4, "chunk_size": 12},
        }
        run = project.snakemake(overlay=overlay)
        assert run.code == 0, run.text
        assert run.jobs["trained_vectors"] == 1
        found[effect] = project.results
    return found


def test_rewards_teach_what_helps(reinforced: dict[str, Path]):
    final = load(reinforced["helps"] / "test_final.json")
    assert final["verdict"] == "helps"
    assert final["best_trial_params"]["steering_direction"] == "trained"
    assert final["best_trial_params"]["band_layers"] == [0, 1, 2]
    # Trained together, they keep their proportions.
    assert len(set(final["best_trial_params"]["band_alphas"])) == 1
    assert sum(final["gained_from"].values()) == final["mcnemar"]["gained"] > 10
    record = load(reinforced["helps"] / "controls.json")
    words = {entry["name"]: entry["verdict"] for entry in record["controls"]}
    assert {words[f"random_{n}"] for n in range(1, 6)} == {"no detectable effect at n = 60"}
    with (reinforced["helps"] / "training" / "band.csv").open(encoding="utf-8") as stream:
        ends = [float(row["held_out"]) for row in csv.DictReader(stream) if row["held_out"]]
    assert max(ends) > ends[0]


def test_where_nothing_can_be_learned_the_verdict_says_so(reinforced: dict[str, Path]):
    final = load(reinforced["cannot"] / "test_final.json")
    assert final["verdict"] == "no detectable effect at n = 60"
    page = (reinforced["cannot"] / "report.html").read_text(encoding="utf-8")
    assert "does not help detectably" in page or "did not help" in page
