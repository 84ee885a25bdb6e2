"""A user's own vectors: every format gives the same numbers, and what is wrong is named."""

import random
from dataclasses import asdict

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from snakesteer.errors import UserError
from snakesteer.steering.vector import write_vector
from snakesteer.vectors.estimate import diagnose, make_vector
from snakesteer.vectors.imported import read_user_vector
from snakesteer.vectors.probe_fits import fit_probe
from tests.unit.examples import activations

HIDDEN = 8
VECTORS = {
    layer: np.random.default_rng(layer).normal(size=HIDDEN).astype(np.float32) for layer in (0, 3)
}


def write_gguf(path, tensors):
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    for name, numbers in tensors.items():
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_safetensors(path, tensors):
    save_file(tensors, path)
    return path


def named(form):
    return {form.format(layer): vector for layer, vector in VECTORS.items()}


@pytest.mark.parametrize(
    ("name", "form", "write"),
    [
        ("v.safetensors", "layer_{}", write_safetensors),
        ("v.safetensors", "direction.{}", write_safetensors),
        ("v.gguf", "direction.{}", write_gguf),
    ],
)
def test_tensors_by_layer(tmp_path, name, form, write):
    other = {"else": np.ones(3, np.float32)}
    path = write(tmp_path / name, {**named(form), **other})
    for layer, vector in VECTORS.items():
        found = read_user_vector(path, layer, HIDDEN)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, vector)


def test_a_vector_file_of_a_run(tmp_path):
    data = activations()
    vector = make_vector("caa", data, fit_probe(data, c=1.0))
    path = tmp_path / "layer_3.safetensors"
    write_vector(path, vector, asdict(diagnose(vector, data)))
    np.testing.assert_array_equal(read_user_vector(path, 3, HIDDEN), vector.raw)
    with pytest.raises(UserError, match=r"no vector for layer 2 \(layers in it: 3\)"):
        read_user_vector(path, 2, HIDDEN)


def test_half_precision(tmp_path):
    path = tmp_path / "v.safetensors"
    save_torch({"layer_1": torch.from_numpy(VECTORS[3]).bfloat16()}, path)
    expected = torch.from_numpy(VECTORS[3]).bfloat16().float().numpy()
    np.testing.assert_array_equal(read_user_vector(path, 1, HIDDEN), expected)
    path = write_gguf(tmp_path / "v.gguf", {"direction.1": VECTORS[3].astype(np.float16)})
    expected = VECTORS[3].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(read_user_vector(path, 1, HIDDEN), expected)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(HIDDEN + 1), r"layer 1 has shape \[9\], but the model's hidden size is 8"),
        (np.ones((1, HIDDEN)), r"has shape \[1, 8\]"),
        (np.full(HIDDEN, np.nan), "layer 1 holds numbers that are not finite"),
        (np.full(HIDDEN, -np.inf), "layer 1 holds numbers that are not finite"),
        (np.zeros(HIDDEN), "layer 1 holds only zeros"),
    ],
)
def test_what_cannot_steer_is_refused(tmp_path, vector, message):
    for write, name in ((write_safetensors, "v.safetensors"), (write_gguf, "v.gguf")):
        path = write(tmp_path / name, {"layer_1": vector.astype("f4"), "layer_2": np.ones(8, "f4")})
        with pytest.raises(UserError, match=message):
            read_user_vector(path, 1, HIDDEN)


def test_other_files_are_refused(tmp_path):
    pickled = tmp_path / "v.pt"
    torch.save({"layer_1": torch.ones(8)}, pickled)
    with pytest.raises(UserError, match=r"neither \.safetensors nor \.gguf.*never opened"):
        read_user_vector(pickled, 1, HIDDEN)
    with pytest.raises(UserError, match=r"none\.gguf' cannot be read: it does not exist"):
        read_user_vector(tmp_path / "none.gguf", 1, HIDDEN)
    path = write_safetensors(tmp_path / "v.safetensors", {"weights": np.ones(8, np.float32)})
    with pytest.raises(UserError, match=r"no vector for layer 1 \(layers in it: none\).*layer_{L}"):
        read_user_vector(path, 1, HIDDEN)


@pytest.mark.parametrize("name", ["v.safetensors", "v.gguf"])
def test_a_damaged_file_is_an_error_or_holds_a_vector(tmp_path, name):
    write = write_gguf if name.endswith("gguf") else write_safetensors
    content = write(tmp_path / name, named("direction.{}")).read_bytes()
    path, draw, refused = tmp_path / f"damaged {name}", random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content[: draw.choice([len(content), draw.randrange(len(content))])])
        start = draw.randrange(len(damaged) + 1)
        damaged[start : start + 4] = draw.randbytes(4)
        path.write_bytes(damaged)
        try:
            found = read_user_vector(path, 3, HIDDEN)
            assert found.shape == (HIDDEN,)
        except UserError:
            refused += 1
    assert refused > 100
