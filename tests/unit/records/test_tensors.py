"""Tensor files: the same bytes for the same content, and a clear error for damaged ones."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from snakesteer.errors import UserError
from snakesteer.records.tensors import read_tensors, write_tensors

TENSORS = {
    "weight": np.arange(6, dtype=np.float32),
    "bias": np.array([0.5], dtype=np.float32),
}
HEADER = {f"key {index}": index / 7 for index in range(12)} | {"text": "ä", "none": None}


def test_round_trip(tmp_path):
    write_tensors(tmp_path / "a.safetensors", TENSORS, HEADER)
    tensors, header = read_tensors(tmp_path / "a.safetensors", "weight", "bias")
    assert header == HEADER
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], tensor)


def test_optional_tensors_are_read_where_they_are(tmp_path):
    write_tensors(tmp_path / "a.safetensors", TENSORS, HEADER)
    tensors, _ = read_tensors(tmp_path / "a.safetensors", "weight", optional=("bias", "more"))
    assert set(tensors) == {"weight", "bias"}


def test_the_same_content_gives_the_same_bytes(tmp_path):
    path, contents = tmp_path / "a.safetensors", set()
    for turn in range(8):
        items = sorted(HEADER.items(), reverse=turn % 2 == 0)
        write_tensors(path, TENSORS, dict(items))
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_damaged_files(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, HEADER)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"a\.safetensors is not a readable file of weight"):
            read_tensors(path, "weight")


def test_missing_or_something_else(tmp_path):
    with pytest.raises(UserError, match="snakemake"):
        read_tensors(tmp_path / "none.safetensors", "raw")
    save_file(TENSORS, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="raw and unit"):
        read_tensors(tmp_path / "other.safetensors", "raw", "unit")
    write_tensors(tmp_path / "probe.safetensors", TENSORS, {})
    with pytest.raises(UserError, match="raw"):
        read_tensors(tmp_path / "probe.safetensors", "raw")
