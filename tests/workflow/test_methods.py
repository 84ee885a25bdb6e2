"""A method and a direction that are dropped in, one file each, through a whole workflow."""

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.documented import PAGE, save
from tests.workflow.project import LAYERS, Project

pytestmark = pytest.mark.workflow

ONCE = dict.fromkeys(
    [
        *("zero_steering", "search", "trials", "best_config"),
        *("test_evaluation", "test_final", "controls", "off_target"),
    ],
    1,
)
EVERYTHING = Counter(vector=len(LAYERS), provenance=1, report=1, **ONCE)
OVERLAY = {
    "steering": {"methods": ["pulse"], "directions": ["median"], "strength": [-1.0, 1.0]},
    "search": {"n_trials": 7},
}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def trials_of(project: Project) -> list[dict[str, str]]:
    with (project.results / "study" / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def choose_a_steered_trial(project: Project) -> dict[str, Any]:
    """Put a steered trial in the place of the best one, as if it had always been there."""
    path = project.results / "best_config.json"
    times, record = path.stat(), read(path)
    candidates = [record["best_trial_params"], *(one["params"] for one in record["runners_up"])]
    params = next(one for one in candidates if one["steering_alpha"])
    path.write_text(json.dumps({**record, "best_trial_params": params}), encoding="utf-8")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return params


def test_a_method_and_a_direction_are_one_file_each(finished_copy: Project):
    """Follows docs/new_method.md to the letter."""
    method, direction = save(finished_copy, "pulse"), save(finished_copy, "median")
    assert "snakemake --configfile pulse.yaml" in PAGE
    dry = finished_copy.snakemake("-n", "--configfile", "pulse.yaml")
    assert dry.jobs == EVERYTHING - Counter(vector=len(LAYERS)), dry.text

    # The config accepts the names, the gate tests the method, the search suggests it.
    arguments = ("--cores", "2", "--resources", "gpu=1")
    run = finished_copy.snakemake(*arguments, overlay=OVERLAY)
    assert run.code == 0, run.text
    assert run.jobs == EVERYTHING
    gate = read(finished_copy.results / "checks" / "zero_steering.json")["kinds"]["pulse"]
    assert gate["tokens_equal"] is True
    assert gate["configuration"]["scope"] == "first_k"
    # The vector is added at as many positions as it says, at one layer.
    assert gate["places_steered"] == gate["configuration"]["first_k"]
    rows = trials_of(finished_copy)
    assert len(rows) == 7
    assert {row["steering_method"] for row in rows} == {"pulse"}
    assert {row["steering_direction"] for row in rows} == {"median"}
    assert {row["first_k"] for row in rows} <= {"1", "2", "4", "8"}
    assert (float(rows[0]["steering_alpha"]), rows[0]["first_k"]) == (0.0, "1")
    assert len({row["first_k"] for row in rows}) > 1

    # The report describes both by the first lines of their files.
    methods = (finished_copy.results / "methods.md").read_text(encoding="utf-8")
    assert "The method pulse was: add α·v at the first positions of the answer, and" in methods
    assert "as median difference of the pairs" in methods
    assert "Layer, first k and strength (between -1 and 1" in methods
    assert "pulse" in (finished_copy.results / "report.html").read_text(encoding="utf-8")

    # Exports write the formats that can hold it, and refuse the others with a reason.
    chosen = choose_a_steered_trial(finished_copy)
    run = finished_copy.snakemake("export", *arguments, overlay=OVERLAY)
    assert run.code == 0, run.text
    manifest = read(finished_copy.results / "export" / "manifest.json")
    assert set(manifest["written"]) == {"canonical", "easysteer"}
    assert set(manifest["refused"]) == {"control_vector", "lm_eval"}
    assert all("the scope is first_k" in reason for reason in manifest["refused"].values())
    card = read(finished_copy.results / "export" / "steering_vector.json")
    assert card["configuration"] == chosen
    assert card["configuration"]["steering_method"] == "pulse"

    # A change of the method's file reruns the gate and what follows; of the direction's, vectors.
    wanted = {method: EVERYTHING - Counter(vector=len(LAYERS)), direction: EVERYTHING}
    for path, planned in wanted.items():
        file = finished_copy.folder / path
        text = file.read_text(encoding="utf-8")
        file.write_text(text + "# a change\n", encoding="utf-8")
        assert finished_copy.snakemake("-n", overlay=OVERLAY).jobs == planned
        file.write_text(text, encoding="utf-8")


def test_a_method_that_does_not_say_what_it_steers_is_named(fresh_copy: Project):
    file = fresh_copy.folder / "snakesteer" / "steering" / "methods" / "nothing.py"
    file.write_text('"""Nothing."""\n', encoding="utf-8")
    run = fresh_copy.snakemake("-n")
    assert run.code != 0
    assert "nothing.py has no KIND" in run.text
