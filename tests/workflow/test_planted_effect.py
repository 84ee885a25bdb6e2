"""A whole run on a model in which steering is known to help: that is found, and no control does."""

import csv
import json
from pathlib import Path

import pytest

from tests.planted import EASY, LAYER, MORE_NAMES, NAMES, planted_rows, save_planted_model
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
    "search": {
        "sampler": "grid",
        "grid_points": 5,
        "n_trials": 5,
        "chunk_size": 12,
        "confirm": 0.5,
    },
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
    assert final["recommendation"] == "steer"
    assert final["accuracy_improvement"] > final["minimum_detectable_effect"]
    # The smallest dose of the grid that is enough: ±0.15 and ±0.3 were tried.
    assert final["best_trial_params"]["steering_dose"] == pytest.approx(0.15)


def test_the_lead_is_confirmed_on_problems_that_the_search_did_not_see(results: Path):
    best = load(results / "best_config.json")
    assert best["validation_problems"] == best["confirmation"]["problems"] == 12
    assert load(results / "study" / "confirmation.json")["trial"] == best["trial"]
    baseline = read_rows(results / "baseline" / "val.jsonl")
    right = sum(row["correct"] for row in baseline[12:])
    assert best["confirmation"]["gained"] == 12 - right
    assert best["max_t_p"] < 0.05
    assert "on 12 others" in best["why"]


def test_the_controls_show_none(results: Path):
    record, final = load(results / "controls.json"), load(results / "test_final.json")
    words = {entry["name"]: entry["verdict"] for entry in record["controls"]}
    assert words.pop("negative") in ("inconclusive", "hurts")
    drawn = {f"{kind}_{i}" for kind in ("random", "shuffled") for i in range(1, 6)}
    assert set(words) == {*drawn, "prompt"}
    assert set(words.values()) == {"inconclusive"}
    assert {entry["against_chosen"]["verdict"] for entry in record["controls"]} == {"helps"}
    assert record["chosen"]["verdict"] == "helps"
    assert record["chosen"]["accuracy"] == final["steered_benchmark_metrics"]["accuracy"]
    for family in record["families"].values():
        assert (family["below_chosen"], family["p_value"]) == (5, 1 / 6)
    assert record["run"] == final["run"]
    told = read_rows(results / "control_generations.jsonl")
    assert len(told) == 12 * 60
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


@pytest.fixture(scope="module")
def reinforced(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole runs with vectors that learn from rewards, all layers together, by effect."""
    found = {}
    for effect in ("helps", "cannot"):
        project = fresh.copy(tmp_path_factory.mktemp(effect) / "a project")
        save_planted_model(project.folder / "planted model", effect)
        # Where nothing can be learned, enough problems to show that nothing changes.
        rows = planted_rows((*NAMES, *MORE_NAMES) if effect == "cannot" else NAMES)
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
        if effect == "cannot":
            overlay["data"] = {**OVERLAY["data"], "test": 160}
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
    assert {words[f"random_{n}"] for n in range(1, 6)} == {"inconclusive"}
    with (reinforced["helps"] / "training" / "band.csv").open(encoding="utf-8") as stream:
        ends = [float(row["held_out"]) for row in csv.DictReader(stream) if row["held_out"]]
    assert max(ends) > ends[0]


def test_where_nothing_can_be_learned_the_verdict_says_so(reinforced: dict[str, Path]):
    final = load(reinforced["cannot"] / "test_final.json")
    # The search prefers no steering, and its best steered trial is tested all the same.
    assert final["recommendation"] == "leave alone"
    assert final["best_trial_params"]["steering_alpha"] != 0.0
    assert final["verdict"] == "equivalent"
    assert final["equivalence"]["p_value"] < 0.05
    page = (reinforced["cannot"] / "report.html").read_text(encoding="utf-8")
    assert "Steering changes nothing that matters: less than 2.0 points" in page
    assert "leave the model alone" in page
