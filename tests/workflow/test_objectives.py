"""Whole runs with two objectives and strengths in nats, and what reruns after a change."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from snakesteer.data.neutral import read_passages
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

OVERLAY: dict[str, Any] = {
    "steering": {"unit": "kl", "strength": [-0.3, 0.3]},
    "search": {"objectives": ["accuracy", "kl"], "kl_budget": 0.05, "n_trials": 10},
}
TEST = Counter(test_evaluation=1, test_final=1, off_target=1, controls=1, provenance=1, report=1)
CHOICE = Counter(best_config=1) + TEST
SEARCH = Counter(search=1, trials=1) + CHOICE
STRENGTHS = Counter(kl_strengths=1, zero_steering=1) + SEARCH


def with_changes(**changes: dict[str, Any]) -> dict[str, Any]:
    return {name: {**OVERLAY.get(name, {}), **changes.get(name, {})} for name in OVERLAY | changes}


@pytest.fixture(scope="module")
def project(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a finished run."""
    made = fresh.copy(tmp_path_factory.mktemp("objectives") / "a project")
    run = made.snakemake("all", "--cores", "2", "--resources", "gpu=1", overlay=OVERLAY)
    assert run.code == 0, run.text
    assert run.jobs["kl_strengths"] == 1
    return made


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def trials_of(project: Project) -> list[dict[str, str]]:
    with (project.results / "study" / "trials.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_trials_over_the_budget_answered_nothing(project: Project):
    rows = trials_of(project)
    assert len(rows) == 10
    over = [row for row in rows if float(row["kl"]) > 0.05]
    assert 0 < len(over) < 9
    for row in rows:
        assert (row["state"] == "PRUNED") == (row in over)
        assert float(row["problems"]) == (0.0 if row in over else 8.0)
    assert (rows[0]["kl"], rows[0]["steering_kl"], rows[0]["steering_alpha"]) == ("0.0",) * 3


def test_strengths_are_told_in_nats_and_as_what_they_are(project: Project):
    record = load(project.results / "kl_strengths.json")
    # Two methods, directions and layers, and both signs.
    assert len(record["curves"]) == 16
    curves = {(c["method"], c["direction"], c["layer"], c["sign"]): c for c in record["curves"]}
    for row in trials_of(project)[1:]:
        nats, dose = float(row["steering_kl"]), float(row["steering_dose"])
        assert (nats > 0.0) == (dose > 0.0) == (float(row["steering_alpha"]) > 0.0)
        own = (row["steering_method"], row["steering_direction"], int(float(row["layer_id"])))
        curve = curves[*own, 1 if nats > 0.0 else -1]
        below = [d for n, d in zip(curve["nats"], curve["doses"], strict=True) if n <= abs(nats)]
        above = [d for n, d in zip(curve["nats"], curve["doses"], strict=True) if n >= abs(nats)]
        assert max([0.0, *below]) <= abs(dose) <= min(above)
    best = load(project.results / "best_config.json")["best_trial_params"]
    assert {"steering_kl", "steering_alpha", "steering_dose"} <= best.keys()


def test_the_choice_is_within_the_budget(project: Project):
    best = load(project.results / "best_config.json")
    assert best["kl"]["budget"] == 0.05
    assert 0.0 < best["kl"]["tested"] <= 0.05
    row = trials_of(project)[best["trial"]]
    assert float(row["kl"]) == best["kl"]["tested"]
    steered = [
        float(other["accuracy"])
        for other in trials_of(project)
        if other["state"] == "COMPLETE" and float(other["steering_alpha"])
    ]
    assert best["best_validation_score"] == max(steered)


def test_the_report_draws_the_front(project: Project):
    page = (project.results / "report.html").read_text(encoding="utf-8")
    assert 'id="figure-pareto"' in page
    assert (project.results / "figures" / "pareto.svg").exists()
    text = (project.results / "methods.md").read_text(encoding="utf-8")
    assert "The search had two objectives" in text
    assert "KL(unsteered ‖ steered) in nats" in text
    hashed = load(project.results / "provenance.json")["sha256"]
    assert str(Path("results") / "kl_strengths.json") in hashed


def test_the_reported_cost_is_on_other_passages(project: Project):
    assets = project.folder / "snakesteer" / "data" / "assets"
    assert load(project.results / "off_target.json")["neutral"]["texts"] == len(
        read_passages(assets / "neutral.txt")
    )
    # What is optimised on is an input of the search, and what is reported is none.
    passages = assets / "neutral_search.txt"
    before = passages.read_text(encoding="utf-8")
    passages.write_text(before.replace("kite", "bird"), encoding="utf-8")
    assert project.snakemake("-n", overlay=OVERLAY).jobs == SEARCH
    passages.write_text(before, encoding="utf-8")


TABLE = {
    "search.kl_budget": (0.06, SEARCH),
    "search.seed": (1, SEARCH),
    "search.max_t": (False, CHOICE),
    "steering.strength": ([-0.2, 0.3], STRENGTHS),
    "steering.scope": ("all", STRENGTHS),
    "prompt.stop": (["Q"], Counter(baseline=1, zero_steering=1) + SEARCH),
}


@pytest.mark.parametrize("leaf", TABLE)
def test_a_leaf_reruns_what_it_affects(project: Project, leaf: str):
    value, rules = TABLE[leaf]
    section, key = leaf.split(".")
    run = project.snakemake("-n", overlay=with_changes(**{section: {key: value}}))
    assert run.code == 0, run.text
    assert run.jobs == rules
