"""Activation files: a damaged one is an error that names it, never a crash or other numbers."""

import random

import h5py
import numpy as np
import pytest

from snakesteer.errors import UserError
from snakesteer.vectors.activations import read_activations
from tests.unit.vectors.test_capture import write


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("activations")
    write(folder)
    return folder / "layer_1.h5"


def test_attributes_come_back_as_plain_python(good):
    attributes = read_activations(good).attributes
    assert type(attributes["layer"]) is int
    assert type(attributes["model"]) is str


def test_truncated_anywhere(good, tmp_path):
    content = good.read_bytes()
    path = tmp_path / "layer_1.h5"
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"layer_1\.h5 is not a readable activation file"):
            read_activations(path)


def test_damaged_bytes_never_give_other_numbers(good, tmp_path):
    content, whole = good.read_bytes(), read_activations(good)
    draw, path, refused = random.Random(0), tmp_path / "layer_1.h5", 0
    for _ in range(200):
        damaged = bytearray(content)
        start = draw.randrange(len(content))
        damaged[start : start + 8] = draw.randbytes(8)
        path.write_bytes(damaged[: len(content)])
        try:
            found = read_activations(path)
        except UserError:
            refused += 1
            continue
        for name in ("positive", "negative", "residual_norm", "residual_mean", "tokens"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert refused > 100


def test_missing_or_something_else(tmp_path):
    with pytest.raises(UserError, match="snakemake"):
        read_activations(tmp_path / "none.h5")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["weights"] = [1.0]
    with pytest.raises(UserError, match=r"other\.h5"):
        read_activations(other)
