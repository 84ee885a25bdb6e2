"""Activation files: one HDF5 file per layer and split (written by `snakesteer.vectors.capture`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snakesteer.records.library_causes import RESULT
from snakesteer.records.library_errors import told

# A token that was read of a pair's side (0 is right), and its share among those that were.
TOKEN_ENTRY = np.dtype([("pair", "<i4"), ("side", "<i4"), ("token", "<i4"), ("share", "<f8")])


@dataclass(frozen=True, eq=False)
class Activations:
    """What one activation file holds.

    Attributes:
        ids: Of the pairs.
        positive: ``[pairs, hidden]`` float32; where a side has several texts, their mean.
        negative: ``[pairs, hidden]`` float32.
        residual_norm: ``[pairs, 2]`` float32: mean norm of the residual stream from the last prompt
            token on, for the right and the wrong side.
        residual_mean: ``[hidden]`` float32: the residual stream itself, averaged over the same
            positions of each text, each side and then over all sides.
        tokens: `TOKEN_ENTRY` records: which tokens were read.
        attributes: Provenance and layer.
    """

    ids: tuple[str, ...]
    positive: NDArray[np.float32]
    negative: NDArray[np.float32]
    residual_norm: NDArray[np.float32]
    residual_mean: NDArray[np.float32]
    tokens: NDArray[Any]
    attributes: dict[str, Any]


def read_activations(path: str | Path) -> Activations:
    """Read an activation file.

    Raises:
        UserError: It is missing, damaged, locked, or not an activation file.
    """
    with told(RESULT, str(path), "is not a readable activation file"), h5py.File(path, "r") as file:
        return Activations(
            ids=tuple(text.decode() for text in file["id"][:]),
            positive=file["positive"][:],
            negative=file["negative"][:],
            residual_norm=file["residual_norm"][:],
            residual_mean=file["residual_mean"][:],
            tokens=file["tokens"][:],
            attributes={key: _plain(value.item()) for key, value in file.attrs.items()},
        )


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
