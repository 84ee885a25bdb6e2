"""Vectors of all kinds: of one layer's residual stream, or of all layers' attention heads."""

from collections.abc import Iterable
from pathlib import Path

from snakesteer.head_vectors import HeadVector, read_head_vector
from snakesteer.vectors import Vector, read_vector

AnyVector = Vector | HeadVector
# A direction and a layer; a method and `ALL_LAYERS` for vectors of attention heads.
VectorKey = tuple[str, int]
ALL_LAYERS = -1
HEADS_FOLDER = "heads"


def key_of(vector: AnyVector) -> VectorKey:
    """What a vector is found by."""
    if isinstance(vector, HeadVector):
        return vector.method, ALL_LAYERS
    return vector.direction, vector.layer


def file_of(key: VectorKey) -> tuple[str, str]:
    """The last two parts of the path of a vector's file."""
    name, layer = key
    if layer == ALL_LAYERS:
        return HEADS_FOLDER, f"{name}.safetensors"
    return name, f"layer_{layer}.safetensors"


def read_vectors(paths: Iterable[str | Path]) -> dict[VectorKey, AnyVector]:
    """Read vector files of all kinds, by their keys.

    Raises:
        UserError: A file is missing, damaged, or no vector.
    """
    found: dict[VectorKey, AnyVector] = {}
    for path in paths:
        of_heads = Path(path).parent.name == HEADS_FOLDER
        vector = read_head_vector(path) if of_heads else read_vector(path)
        found[key_of(vector)] = vector
    return found
