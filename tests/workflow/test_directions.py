"""Directions in a whole run: the documented one of one's own, and vectors from a file."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from snakesteer.steering.vector import read_vector
from snakesteer.vectors.activations import read_activations
from tests.workflow.documented import PAGE, save
from tests.workflow.project import LAYERS, Project

pytestmark = pytest.mark.workflow


def vector_path(project: Project, direction: str, layer: int) -> Path:
    return project.results / "vectors" / direction / f"layer_{layer}.safetensors"


def test_the_documented_direction_is_one_file(finished_copy: Project):
    """Follows docs/new_method.md to the letter."""
    name = save(finished_copy, "median")
    assert "snakemake vectors --configfile median.yaml" in PAGE
    arguments = ("vectors", "--cores", "2", "--configfile", "median.yaml")
    run = finished_copy.snakemake(*arguments)
    assert run.code == 0, run.text
    assert run.jobs == Counter(vector=len(LAYERS))
    for layer in LAYERS:
        found = read_activations(finished_copy.results / f"activations/train/layer_{layer}.h5")
        ordered = np.sort(found.positive - found.negative, axis=0)
        median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        vector = read_vector(vector_path(finished_copy, "median", layer))
        assert (vector.direction, vector.layer) == ("median", layer)
        np.testing.assert_allclose(vector.raw, median, rtol=1e-6)
    # A change of the file reruns its own vectors alone; those of caa depend on other files.
    with (finished_copy.folder / name).open("a") as file:
        file.write("# a change\n")
    assert finished_copy.snakemake(*arguments, "-n").jobs == Counter(vector=len(LAYERS))


def test_vectors_of_another_run_are_searched(finished_copy: Project):
    folder = finished_copy.folder / "brought along"
    (finished_copy.results / "vectors" / "probe").rename(folder)
    steering = {"directions": ["file"], "vector_file": "brought along/layer_{layer}.safetensors"}
    wrong = {"steering": steering | {"vector_file": "nowhere/{layer}.gguf"}}
    missing = finished_copy.snakemake("study", "--cores", "2", "-n", overlay=wrong)
    assert missing.code == 1
    assert re.search(
        r"vector_file is 'nowhere/\{layer\}\.gguf', but nowhere/\d\.gguf is not a file",
        missing.text,
    )
    overlay = {"steering": steering}
    run = finished_copy.snakemake("study", "--cores", "2", "--resources", "gpu=1", overlay=overlay)
    assert run.code == 0, run.text
    expected = Counter(imported_vector=2, zero_steering=1, search=1, trials=1, best_config=1)
    assert run.jobs == expected
    for layer in LAYERS:
        brought = read_vector(folder / f"layer_{layer}.safetensors")
        found = read_vector(vector_path(finished_copy, "file", layer))
        np.testing.assert_array_equal(found.raw, brought.raw)
        assert found.direction == "file"
        assert found.mean_residual_norm == brought.mean_residual_norm
