"""What replicates chose, and how far their vectors agree."""

import numpy as np
import pytest

from snakesteer.records.files import read_json
from snakesteer.steering.vector import HeadVector, Vector, write_head_vector, write_vector
from snakesteer.study.rows import run_row
from snakesteer.study.stability import Share, chosen_vector, stability_of
from tests.unit.study.studies import write_finished

ONE, OTHER = np.array([3.0, 4.0]), np.array([4.0, 3.0])


def stability(folders):
    finals = [read_json(folder / "test_final.json") for folder in folders]
    rows = [run_row(str(folder), final) for folder, final in zip(folders, finals, strict=True)]
    return stability_of(rows, [final["best_trial_params"] for final in finals])


def test_shares_ranges_and_cosines(tmp_path):
    folders = [
        write_finished(tmp_path / "a", dose=0.2, vector=ONE),
        write_finished(tmp_path / "b", dose=-0.1, vector=OTHER, recommendation="leave alone"),
        write_finished(tmp_path / "c", dose=0.3, vector=ONE, layer=12),
        write_finished(tmp_path / "d", dose=0.1),  # its vector is gone
    ]
    found = stability(folders)
    assert (found.runs, found.method, found.direction) == (4, Share("caa", 4), Share("caa", 4))
    assert found.layer == Share("9", 3)
    assert (found.dose, found.alpha) == ((-0.1, 0.3), (-1.0, 3.0))
    assert found.steer == 3
    # Only a and b are of one layer; b pushes the other way.
    assert found.cosines == pytest.approx((-0.96,))


def test_vectors_of_a_band_and_of_heads(tmp_path):
    for layer, raw in ((3, ONE), (4, OTHER)):
        path = tmp_path / "vectors" / "caa" / f"layer_{layer}.safetensors"
        write_vector(path, Vector("caa", layer, raw.astype(np.float32), 10.0), {})
    params = {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": 3,
        "steering_alpha": 2.0,
        "steering_dose": 1.0,
        "scope": "all",
    }
    band = {**params, "band_layers": [3, 4], "band_alphas": [2.0, -1.0]}
    place, added = chosen_vector(tmp_path, band)
    assert added == pytest.approx([6.0, 8.0, -4.0, -3.0])
    assert place[:3] == ("residual", 3, 4)
    delta = np.ones((1, 2, 4), np.float32)
    heads = tmp_path / "heads" / "iti.safetensors"
    write_head_vector(heads, HeadVector("iti", delta, np.ones(2, np.float32)), {})
    iti = {**params, "steering_method": "iti", "steering_direction": "iti", "scope": "constant"}
    place, added = chosen_vector(tmp_path, {**iti, "steering_alpha": -1.0})
    assert added == pytest.approx(-np.ones(8))
    # The layer of a method that steers heads is that of a probe.
    assert chosen_vector(tmp_path, {**iti, "layer_id": 4})[0] == place
    assert chosen_vector(tmp_path / "nowhere", iti) is None
