"""Linear probes and their files; `snakesteer.vectors.probe_fits` fits them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snakesteer.records.tensors import Array, read_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear score of an activation; above 0 means "right".

    Attributes:
        weight: ``[hidden]`` float32, in the space of the activations themselves.
        bias: The intercept there.
    """

    weight: Array
    bias: float

    def scores(self, activations: Array) -> Array:
        """Scores of activations: ``[n, hidden]`` → ``[n]``."""
        return activations @ self.weight + np.float32(self.bias)


def write_probe(path: str | Path, probe: Probe, header: Mapping[str, Any]) -> None:
    """Write a probe as safetensors, atomically; the header says where it comes from."""
    tensors = {"weight": probe.weight, "bias": np.array([probe.bias], dtype=np.float32)}
    write_tensors(path, tensors, header)


def read_probe(path: str | Path) -> Probe:
    """Read a probe.

    Raises:
        UserError: The file is missing, damaged, or no probe.
    """
    tensors, _ = read_tensors(path, "weight", "bias")
    return Probe(tensors["weight"], float(tensors["bias"][0]))
