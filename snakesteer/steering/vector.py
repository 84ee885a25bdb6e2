"""Steering vectors and their files: of one layer's residual stream, or of all attention heads.

A vector file holds ``raw`` (``[hidden]`` float32; α multiplies it) and ``unit`` (the same at length
1). A strength can also be given as a dose: the length of what is added, in units of the mean norm
of the residual stream where it is added. α = dose · mean residual norm / ‖raw‖. Where it is known,
``residual_mean`` (``[hidden]`` float32) is the mean of the residual stream there.

A file of head vectors holds ``delta`` (``[steps, layers, heads · head_dim]`` float32; α multiplies
it) and ``norm`` (``[layers]`` float32: mean norm of the heads' outputs of a layer, all heads
together). A dose is what is added in units of that norm, averaged over steps and steered layers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from snakesteer.config import Direction, Method
from snakesteer.errors import UserError
from snakesteer.records.tensors import Array, read_tensors, write_tensors
from snakesteer.steering.candidate import ALL_LAYERS, Candidate, VectorKey

_MEAN = "residual_mean"


@dataclass(frozen=True, eq=False)
class Vector:
    """A steering vector.

    Attributes:
        direction: How it was estimated.
        layer: 0-based block whose output it belongs to.
        raw: ``[hidden]`` float32, or ``[positions, hidden]`` (ActAdd).
        mean_residual_norm: Mean norm of the residual stream at this layer, from the last prompt
            token on.
        residual_mean: ``[hidden]`` float32, mean of the residual stream at these positions; spans
            the plane of operator ``rotate`` together with `raw`.
    """

    direction: Direction
    layer: int
    raw: Array
    mean_residual_norm: float
    residual_mean: Array | None = None

    @property
    def steered_layers(self) -> tuple[int, ...]:
        """Its own layer."""
        return (self.layer,)

    @property
    def norm(self) -> float:
        """‖raw‖; of several positions, the root mean square of their lengths."""
        positions = 1 if self.raw.ndim == 1 else len(self.raw)
        return float(np.linalg.norm(self.raw.astype(np.float64)) / np.sqrt(positions))

    def alpha(self, dose: float) -> float:
        """The α at which the added vector has a dose."""
        return dose * self.mean_residual_norm / self.norm

    def dose(self, alpha: float) -> float:
        """The dose of an α."""
        return alpha * self.norm / self.mean_residual_norm


@dataclass(frozen=True, eq=False)
class HeadVector:
    """What a method adds to the heads' outputs.

    Attributes:
        method: Which it belongs to.
        delta: ``[steps, layers, heads · head_dim]`` float32, for layers from 0 on; 0 where a head
            is not steered.
        norm: ``[layers]`` float32, mean norm of the heads' outputs.
    """

    method: Method
    delta: Array
    norm: Array

    @property
    def steered_layers(self) -> tuple[int, ...]:
        """Layers with a head that is steered."""
        return tuple(np.flatnonzero(self.delta.any(axis=(0, 2))).tolist())

    @cached_property
    def dose_at_alpha_1(self) -> float:
        """The dose of α = 1."""
        lengths = np.linalg.norm(self.delta.astype(np.float64), axis=-1)  # [steps, layers]
        steered = list(self.steered_layers)
        return float((lengths / self.norm)[:, steered].mean()) if steered else 0.0

    def alpha(self, dose: float) -> float:
        """The α of a dose."""
        return dose / self.dose_at_alpha_1

    def dose(self, alpha: float) -> float:
        """The dose of an α."""
        return alpha * self.dose_at_alpha_1


def write_vector(path: str | Path, vector: Vector, header: Mapping[str, Any]) -> None:
    """Write a vector as safetensors, atomically; the header says what it is.

    Args:
        path: The file.
        vector: The vector; kept raw and at unit length.
        header: Where it comes from, and what is known of it.
    """
    rows = "" if vector.raw.ndim == 1 else ", row i at the prompt's position i"
    told = {
        **header,
        "direction": vector.direction,
        "layer": vector.layer,
        "convention": f"added to the output of this 0-based block{rows}",
        "norm": vector.norm,
        "mean_residual_norm": vector.mean_residual_norm,
    }
    tensors = {"raw": vector.raw, "unit": (vector.raw / vector.norm).astype(np.float32)}
    if vector.residual_mean is not None:
        tensors[_MEAN] = vector.residual_mean
    write_tensors(path, tensors, told)


def write_head_vector(path: str | Path, vector: HeadVector, provenance: Mapping[str, Any]) -> None:
    """Write a vector as safetensors, atomically; the header says what it is.

    Args:
        path: The file.
        vector: The vector.
        provenance: Kept in the header.

    Raises:
        UserError: It is not finite, or has no length.
    """
    if not np.isfinite(vector.delta).all() or vector.dose_at_alpha_1 == 0.0:
        raise UserError(
            f"The vectors of {vector.method} have no length, or are not finite: attention heads do "
            "not tell right from wrong solutions",
            "Use more train problems (data.train), another pairs.read, or model.dtype: float32.",
        )
    header = {
        **provenance,
        "method": vector.method,
        "convention": "[steps, layers, heads x head_dim], added before the output projection",
        "dose_at_alpha_1": vector.dose_at_alpha_1,
    }
    write_tensors(path, {"delta": vector.delta, "norm": vector.norm}, header)


def read_head_vector(path: str | Path) -> HeadVector:
    """Read a file of head vectors.

    Raises:
        UserError: The file is missing, damaged, or something else.
    """
    tensors, header = read_tensors(path, "delta", "norm")
    return HeadVector(header["method"], tensors["delta"], tensors["norm"])


def read_vector(path: str | Path) -> Vector:
    """Read a vector file.

    Raises:
        UserError: The file is missing, damaged, or no steering vector.
    """
    tensors, header = read_tensors(path, "raw", "unit", optional=(_MEAN,))
    return Vector(
        direction=header["direction"],
        layer=header["layer"],
        raw=tensors["raw"],
        mean_residual_norm=header["mean_residual_norm"],
        residual_mean=tensors.get(_MEAN),
    )


AnyVector = Vector | HeadVector
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


def read_vectors_of(
    candidate: Candidate, files: Iterable[str | Path]
) -> dict[VectorKey, AnyVector]:
    """Read the vectors that a configuration needs, of all vector files."""
    wanted = {file_of(key) for key in candidate.vector_keys}
    return read_vectors(file for file in files if Path(file).parts[-2:] in wanted)


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
