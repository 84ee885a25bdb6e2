"""Target `export`: what the chosen configuration can be written as, and what is refused."""

import json
import os
from collections import Counter
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from snakesteer.records.files import write_json
from snakesteer.steering.vector import read_vector
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow

CAA = {
    "steering_method": "caa",
    "steering_direction": "caa",
    "layer_id": 1,
    "steering_alpha": 0.5,
    "steering_dose": 0.1,
    "scope": "all",
}


def choose(project: Project, **params: Any) -> None:
    """Put another configuration in place of the chosen one, as if it had always been there."""
    path = project.results / "best_config.json"
    times = path.stat()
    record = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**record, "best_trial_params": {**CAA, **params}})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def manifest(project: Project) -> Any:
    path = project.results / "export" / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_what_can_be_written_is_written_and_the_rest_has_a_reason(finished_copy: Project):
    export = finished_copy.results / "export"
    choose(finished_copy)
    run = finished_copy.snakemake("export", "--cores", "2")
    assert run.code == 0, run.text
    files = {file for made in manifest(finished_copy)["written"].values() for file in made["files"]}
    assert {path.name for path in export.iterdir()} == {*files, "manifest.json"}
    assert manifest(finished_copy)["refused"] == {}
    raw = read_vector(finished_copy.results / "vectors/caa/layer_1.safetensors").raw
    found = load_file(export / "steering_vector.safetensors")
    np.testing.assert_array_equal(found["layer_1"], raw)
    [tensor] = gguf.GGUFReader(export / "control_vector.gguf").tensors
    np.testing.assert_array_equal(tensor.data, np.float32(0.5) * raw)
    card = json.loads((export / "steering_vector.json").read_text(encoding="utf-8"))
    assert card["model"]["name"] == "tiny model"
    assert card["pairs"]["count"] == 11
    assert card["test"]["num_test_samples"] == 8
    assert finished_copy.snakemake("export", "--cores", "2").idle

    # Where a tool would steer other positions, its file goes, and asking for it is an error.
    (export / "manifest.json").unlink()
    choose(finished_copy, scope="from_last_prompt_token")
    run = finished_copy.snakemake("export", "--cores", "2")
    assert run.code == 0, run.text
    assert run.jobs == Counter(export_manifest=1)
    assert set(manifest(finished_copy)["refused"]) == {"control_vector", "lm_eval"}
    kept = {"steering_vector.safetensors", "steering_vector.json", "easysteer.json"}
    assert {path.name for path in export.iterdir()} == {*kept, "easysteer.gguf", "manifest.json"}
    run = finished_copy.snakemake("results/export/control_vector.gguf", "--cores", "2")
    assert run.code == 1
    assert "cannot be exported as control_vector.gguf for llama.cpp: the scope is" in run.text
    assert not (export / "control_vector.gguf").exists()
