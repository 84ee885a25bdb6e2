"""Vectors of all kinds are found by one kind of key."""

import numpy as np

from snakesteer.steering.candidate import ALL_LAYERS
from snakesteer.steering.vector import (
    HeadVector,
    Vector,
    file_of,
    read_vectors,
    write_head_vector,
    write_vector,
)


def test_files_are_read_by_their_keys(tmp_path):
    raw = np.ones(4, np.float32)
    for direction, layer in (("caa", 1), ("caa", 11), ("pca", 1)):
        path = tmp_path.joinpath("vectors", *file_of((direction, layer)))
        vector = Vector(direction, layer, layer * raw, 2.0)
        write_vector(path, vector, {})
    for method, steps in (("dac_heads", 3), ("iti", 1)):
        path = tmp_path.joinpath(*file_of((method, ALL_LAYERS)))
        delta = np.ones((steps, 2, 4), np.float32)
        write_head_vector(path, HeadVector(method, delta, raw[:2]), {})
    found = read_vectors(sorted(tmp_path.rglob("*.safetensors")))
    assert set(found) == {
        ("caa", 1),
        ("caa", 11),
        ("pca", 1),
        ("dac_heads", ALL_LAYERS),
        ("iti", ALL_LAYERS),
    }
    assert found["caa", 11].raw[0] == 11.0
    assert found["caa", 11].residual_mean is None
    assert len(found["dac_heads", ALL_LAYERS].delta) == 3
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors")}
    assert {"heads/iti.safetensors", "vectors/caa/layer_11.safetensors"} <= names
