"""Directions equal what their papers say, computed otherwise; they are found as modules alone."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from snakesteer.config import SteeringConfig, catalogue
from snakesteer.errors import UserError
from snakesteer.records.code_files import PACKAGE, imported_files
from snakesteer.vectors.estimate import make_vector
from snakesteer.vectors.probe_fits import fit_probe
from snakesteer.vectors.probes import Probe
from tests.unit.examples import activations


@pytest.fixture(scope="module")
def data():
    return activations()


@pytest.fixture(scope="module")
def probe(data):
    return fit_probe(data, c=1.0)


def test_mean_centring_takes_the_background_off(data, probe):
    raw = make_vector("mean_centring", data, probe).raw
    slow = [sum(map(float, column)) / 40 for column in data.positive.T] - data.residual_mean
    np.testing.assert_allclose(raw, slow, rtol=1e-5)
    assert not np.allclose(raw, make_vector("caa", data, probe).raw, rtol=0.1)


def principal_axis(data):
    """The leading eigenvector of the covariance of the differences, by power iteration."""
    differences = data.positive.astype(np.float64) - data.negative
    centred = differences - differences.mean(axis=0)
    covariance = centred.T @ centred
    axis = np.ones(len(covariance))
    for _ in range(2000):
        axis = covariance @ axis
        axis /= np.linalg.norm(axis)
    return axis, differences


def test_pca_is_the_leading_axis_of_the_centred_differences(data, probe):
    axis, differences = principal_axis(data)
    raw = make_vector("pca", data, probe).raw.astype(np.float64)
    assert abs(raw @ axis) / np.linalg.norm(raw) == pytest.approx(1.0, abs=1e-6)
    assert np.linalg.norm(raw) == pytest.approx(abs(differences.mean(axis=0) @ axis), rel=1e-5)


@pytest.mark.parametrize("agree", [True, False])
def test_the_sign_of_pca_is_that_of_most_pairs_even_against_the_mean(probe, agree):
    # One pair far on the other side outweighs 30 in the mean, but not in a vote.
    along = np.array([1.0] * 30 + [-200.0]) * (1 if agree else -1)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(31, 8))
    positive = (noise + np.outer(along, np.eye(8)[2])).astype(np.float32)
    data = dataclasses.replace(activations(31), positive=positive, negative=0 * positive)
    assert np.sign(data.positive.mean(axis=0)[2]) == (-1 if agree else 1)
    assert np.sign(make_vector("pca", data, probe).raw[2]) == (1 if agree else -1)


def test_pca_of_differences_that_are_all_the_same_is_no_direction(data, probe):
    same = dataclasses.replace(data, negative=0 * data.positive, positive=0 * data.positive + 2)
    with pytest.raises(UserError, match="pca direction of layer 3 has no length"):
        make_vector("pca", same, probe)


@pytest.mark.parametrize("direction", catalogue.DIRECTIONS)
def test_every_direction_is_a_vector_of_its_own_and_can_be_searched(data, probe, direction):
    kinds = ("execution", "reflection", "transition")
    groups = {kind: (3 + n, data.positive[n]) for n, kind in enumerate(kinds)}
    data = dataclasses.replace(data, groups=groups)
    vector = make_vector(direction, data, probe)
    assert vector.direction == direction
    assert vector.raw.shape == (8,)
    assert SteeringConfig(directions=[direction]).directions == [direction]
    assert catalogue.DIRECTIONS[direction] != "no description"
    description = SteeringConfig.model_fields["directions"].description
    assert f"`{direction}`: {catalogue.DIRECTIONS[direction]}." in description
    page = (PACKAGE.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    assert f"\n| `{direction}` | " in page
    others = [
        make_vector(name, data, probe).raw for name in catalogue.DIRECTIONS if name != direction
    ]
    assert not any(np.allclose(vector.raw, other, rtol=1e-3) for other in others)


def test_names_are_those_of_the_files_and_cost_no_heavy_import():
    files = {path.stem for path in (PACKAGE / "vectors" / "directions").glob("*.py")} - {"__init__"}
    assert set(catalogue.DIRECTIONS) == files
    assert {"caa", "probe", "mean_centring", "pca"} <= files
    code = (
        "import sys; from snakesteer.config import catalogue; assert 'pca' in catalogue.DIRECTIONS;"
        "assert not {'numpy', 'sklearn', 'h5py', 'torch'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_an_unknown_direction_names_the_known_ones_and_the_file_to_add():
    with pytest.raises(ValueError, match=r"'pcaa'.*mean_centring, pca, probe.*directions/pcaa\.py"):
        SteeringConfig(directions=["pcaa"])


def test_a_vector_depends_on_its_own_estimator_alone():
    def files(direction):
        script = PACKAGE.parent / "workflow" / "scripts" / "vector.py"
        found = imported_files(script, {"vectors.directions": [direction]})
        return {path.name for path in found if path.parent.name == "directions"}

    assert files("pca") == {"__init__.py", "pca.py"}
    assert files("probe") == {"__init__.py", "probe.py", "caa.py"}


def test_an_estimator_that_returns_another_shape_is_named(data, monkeypatch):
    monkeypatch.setattr(
        "snakesteer.vectors.estimate.estimator", lambda _: lambda *_: np.ones((2, 8))
    )
    with pytest.raises(ValueError, match=r"directions/caa\.py returned .*\(2, 8\), not \(8,\)"):
        make_vector("caa", data, Probe(np.ones(8, dtype=np.float32), 0.0))
