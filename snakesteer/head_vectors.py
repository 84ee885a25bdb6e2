"""Vectors of attention heads, of all layers at once, and the numbers that make them usable.

A file holds ``delta`` (``[steps, layers, heads · head_dim]`` float32; α multiplies it) and ``norm``
(``[layers]`` float32: mean norm of the heads' outputs of a layer, all heads together). A dose is
what is added in units of that norm, averaged over steps and steered layers: the analogue of a dose
in the residual stream, where it is the length of what is added in mean residual norms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakesteer.config import HeadMethod
from snakesteer.errors import UserError
from snakesteer.records.tensors import read_tensors, write_tensors

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HeadVector:
    """What a method adds to the heads' outputs.

    Attributes:
        method: Which it belongs to.
        delta: ``[steps, layers, heads · head_dim]`` float32, for layers from 0 on; 0 where a head
            is not steered.
        norm: ``[layers]`` float32, mean norm of the heads' outputs.
    """

    method: HeadMethod
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
