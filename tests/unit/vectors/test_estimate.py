"""Vectors, doses and diagnostics equal what their definitions say, written out."""

import dataclasses
import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
from safetensors import safe_open

from snakesteer.errors import UserError
from snakesteer.steering.vector import read_vector, write_vector
from snakesteer.vectors.estimate import (
    SPLIT_SEED,
    SPLITS,
    diagnose,
    make_vector,
    split_half_cosines,
)
from snakesteer.vectors.probe_fits import fit_probe
from snakesteer.vectors.probes import Probe
from tests.unit.examples import activations


@pytest.fixture(scope="module")
def data():
    return activations()


@pytest.fixture(scope="module")
def probe(data):
    return fit_probe(data, c=1.0)


def test_caa_is_the_mean_difference(data, probe):
    vector = make_vector("caa", data, probe)
    slow = sum(
        p.astype(np.float64) - n for p, n in zip(data.positive, data.negative, strict=True)
    ) / len(data.ids)
    assert (vector.direction, vector.layer, vector.raw.dtype) == ("caa", 3, np.float32)
    np.testing.assert_allclose(vector.raw, slow, rtol=1e-6)
    assert vector.mean_residual_norm == pytest.approx(data.residual_norm.mean(), rel=1e-6)


def test_probe_direction_has_the_length_of_the_gap_along_it(data, probe):
    raw = make_vector("probe", data, probe).raw.astype(np.float64)
    unit = probe.weight / np.linalg.norm(probe.weight)
    np.testing.assert_allclose(raw / np.linalg.norm(raw), unit, rtol=1e-5)
    gap = (data.positive @ unit).mean() - (data.negative @ unit).mean()
    assert np.linalg.norm(raw) == pytest.approx(gap, rel=1e-5)


def test_a_dose_is_the_added_length_in_residual_norms(data, probe):
    vector = make_vector("caa", data, probe)
    for dose in (-0.5, 0.0, 0.3):
        added = vector.alpha(dose) * vector.raw.astype(np.float64)
        assert np.linalg.norm(added) == pytest.approx(abs(dose) * vector.mean_residual_norm)
        assert vector.dose(vector.alpha(dose)) == pytest.approx(dose)
    assert vector.alpha(0.0) == 0.0


def test_diagnostics_against_a_double_loop(data, probe):
    vector = make_vector("caa", data, probe)
    found = diagnose(vector, data)
    differences = data.positive.astype(np.float64) - data.negative
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in itertools.combinations(differences, 2)
    ]
    norms = [np.linalg.norm(d) for d in differences]
    assert found.pairs == 40
    assert found.mean_cosine == pytest.approx(np.mean(cosines))
    assert found.norm_ratio == pytest.approx(vector.norm / np.mean(norms), rel=1e-6)
    assert found.dose_at_alpha_1 == pytest.approx(vector.norm / data.residual_norm.mean(), rel=1e-6)


def test_diagnostics_where_all_pairs_agree_or_one_does_not_differ(data, probe):
    same = dataclasses.replace(data, positive=data.negative + np.float32(0.5))
    found = diagnose(make_vector("caa", same, probe), same)
    assert found.mean_cosine == pytest.approx(1.0, abs=1e-4)
    assert found.norm_ratio == pytest.approx(1.0, abs=1e-4)
    positive = same.positive.copy()
    positive[0] = same.negative[0]
    one = dataclasses.replace(same, positive=positive)
    assert diagnose(make_vector("caa", one, probe), one).mean_cosine == pytest.approx(1.0, abs=1e-4)


def test_split_halves_against_a_slow_loop():
    draw = np.random.default_rng(5)
    differences = draw.normal(size=(21, 6)) + 0.4
    found = split_half_cosines(differences, 300, seed=3)
    assert found.shape == (300,)
    rng, slow = np.random.default_rng(3), []
    for _ in range(300):
        order = rng.permutation(21)
        first, second = (differences[part].mean(axis=0) for part in (order[:10], order[10:]))
        slow.append(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    np.testing.assert_allclose(found, slow)


def test_diagnostics_hold_the_splits_mean_and_middle(data, probe):
    found = diagnose(make_vector("caa", data, probe), data)
    differences = data.positive.astype(np.float64) - data.negative
    cosines = split_half_cosines(differences, SPLITS, SPLIT_SEED)
    assert found.split_half_cosine == pytest.approx(cosines.mean())
    assert found.split_half_interval == pytest.approx(tuple(np.quantile(cosines, [0.025, 0.975])))
    assert found.warnings == ()


def test_pairs_that_do_not_agree_are_called_noise(caplog):
    none = activations(gap=0.0)
    vector = make_vector("caa", none, fit_probe(none, c=1.0))
    found = diagnose(vector, none)
    assert found.split_half_interval[0] < 0.0
    [warning] = found.warnings
    assert warning.startswith("mostly noise: ")
    assert "of the 40 pairs" in warning
    assert f"caa, layer 3: {warning}" in caplog.text
    # One that was read from a file is not made from these pairs.
    assert diagnose(dataclasses.replace(vector, direction="file"), none).warnings == ()


def test_a_split_without_a_difference_has_no_cosine():
    assert split_half_cosines(np.zeros((4, 3)), 5, 0).tolist() == [0.0] * 5


@pytest.mark.parametrize("direction", ["caa", "probe"])
def test_a_direction_without_length_is_an_error(data, probe, direction):
    equal = dataclasses.replace(data, positive=data.negative)
    with pytest.raises(UserError, match=rf"{direction} direction of layer 3 has no length"):
        make_vector(direction, equal, probe)


def test_a_probe_without_weights_gives_no_direction(data):
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(UserError, match="probe direction of layer 3 has no length"),
    ):
        make_vector("probe", data, Probe(np.zeros(8, dtype=np.float32), 0.0))


def test_a_file_gives_back_the_vector_and_says_what_it_is(tmp_path, data, probe):
    vector, path = make_vector("caa", data, probe), tmp_path / "caa" / "layer_3.safetensors"
    write_vector(path, vector, {**data.attributes, **asdict(diagnose(vector, data))})
    found = read_vector(path)
    np.testing.assert_array_equal(found.raw, vector.raw)
    assert (found.direction, found.layer) == ("caa", 3)
    assert found.mean_residual_norm == vector.mean_residual_norm
    np.testing.assert_array_equal(found.residual_mean, data.residual_mean)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["header"])
        unit = file.get_tensor("unit")
    assert np.linalg.norm(unit) == pytest.approx(1.0)
    np.testing.assert_allclose(unit * vector.norm, vector.raw, rtol=1e-6)
    assert header["model"] == "tiny"
    assert header["pairs"] == 40
    assert header["norm"] == vector.norm


def test_a_damaged_vector_names_its_file(tmp_path):
    path = tmp_path / "layer_3.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"layer_3\.safetensors"):
        read_vector(path)
