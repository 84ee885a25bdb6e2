"""Activation files: one HDF5 file per layer and split (written by `snakesteer.vectors.capture`)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snakesteer.errors import UserError
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
        groups: Of pairs of thoughts, by their kind: how many there are, and the mean of all,
            ``[hidden]`` float32.
    """

    ids: tuple[str, ...]
    positive: NDArray[np.float32]
    negative: NDArray[np.float32]
    residual_norm: NDArray[np.float32]
    residual_mean: NDArray[np.float32]
    tokens: NDArray[Any]
    attributes: dict[str, Any]
    groups: dict[str, tuple[int, NDArray[np.float32]]] = field(default_factory=dict)

    def mean_of_groups(self, *names: str) -> NDArray[np.float64]:
        """The mean of all thoughts of some kinds together, ``[hidden]``.

        Raises:
            UserError: There is none of them.
        """
        found = [self.groups[name] for name in names if name in self.groups]
        if not found:
            raise UserError(
                f"There are no {' or '.join(names)} thoughts among the contrast pairs",
                "Set pairs.kind: thoughts, or raise data.train.",
            )
        means: NDArray[np.float64] = np.stack([mean.astype(np.float64) for _, mean in found])
        counts = np.array([count for count, _ in found])
        return counts @ means / counts.sum()


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
            groups={
                name: (int(data.attrs["count"]), data[:])
                for name, data in file.get("groups", {}).items()
            },
        )


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
