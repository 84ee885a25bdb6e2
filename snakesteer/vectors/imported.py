"""Steering vectors from files that a user brings: of another run, or of another tool.

Layers are 0-based blocks whose output gets the vector, everywhere: also in a GGUF control vector,
where `direction.N` is added behind block N (llama.cpp's loader and its graph shift N by one each,
which cancels).
"""

import json
import re
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from snakesteer.errors import UserError
from snakesteer.records.library_causes import USER_FILE
from snakesteer.records.library_errors import told

_LAYER = re.compile(r"(?:layer_|direction\.)(\d+)")


def read_user_vector(path: str | Path, layer: int, hidden: int) -> NDArray[np.float32]:
    """The vector that a file holds for a layer.

    Args:
        path: safetensors: a vector file of a run (`snakesteer.steering.vector`), or tensors
            ``layer_{L}`` or ``direction.{L}``; GGUF: tensors ``direction.{L}``.
        layer: 0-based block.
        hidden: The model's hidden size.

    Returns:
        ``[hidden]`` float32.

    Raises:
        UserError: The file is missing or damaged, or has no usable vector for this layer.
    """
    path = Path(path)
    readers = {".safetensors": _read_safetensors, ".gguf": _read_gguf}
    if path.suffix not in readers:
        raise UserError(
            f"steering.vector_file is {str(path)!r}, which is neither .safetensors nor .gguf",
            "Save the vectors as safetensors, as tensors layer_{L}; pickled files (.pt) are never "
            "opened, because they can run code.",
        )
    with told(USER_FILE, f"steering.vector_file {str(path)!r}", "cannot be read"):
        vectors = readers[path.suffix](path)
    if layer not in vectors:
        there = ", ".join(map(str, sorted(vectors))) or "none"
        raise UserError(
            f"steering.vector_file {str(path)!r} has no vector for layer {layer} (layers in it: "
            f"{there})",
            "Choose steering.layers among them; tensors are named layer_{L} or direction.{L}, and "
            "layers are counted from 0.",
        )
    vector = vectors[layer]
    if vector.shape != (hidden,):
        raise UserError(
            f"steering.vector_file {str(path)!r}: the vector of layer {layer} has shape "
            f"{list(vector.shape)}, but the model's hidden size is {hidden}",
            "Use a vector that was made for this model, one number for each hidden dimension.",
        )
    if not np.isfinite(vector).all() or not vector.any():
        what = "only zeros" if np.isfinite(vector).all() else "numbers that are not finite"
        raise UserError(
            f"steering.vector_file {str(path)!r}: the vector of layer {layer} holds {what}",
            "Make the vector anew, or choose other layers.",
        )
    return vector


def _read_safetensors(path: Path) -> dict[int, NDArray[np.float32]]:
    # In torch's framework, because numpy has no bfloat16.
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        if {"raw", "unit"} <= names:
            header = json.loads((file.metadata() or {})["header"])
            found = {"raw": int(header["layer"])}
        else:
            found = {name: int(match[1]) for name in names if (match := _LAYER.fullmatch(name))}
        return {layer: file.get_tensor(name).float().numpy() for name, layer in found.items()}


def _read_gguf(path: Path) -> dict[int, NDArray[np.float32]]:
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        if match := _LAYER.fullmatch(tensor.name):
            numbers = gguf.dequantize(tensor.data, tensor.tensor_type)
            # The reader maps the file into memory; a copy outlives it.
            found[int(match[1])] = np.array(numbers, dtype=np.float32)
    return found
