"""How far replicates chose the same: method, direction, layer, dose, and the vector itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakesteer.errors import UserError
from snakesteer.steering.candidate import candidate_from_params
from snakesteer.steering.vector import HEADS_FOLDER, HeadVector, file_of, read_vectors
from snakesteer.study.rows import RunRow

# The layers that a vector belongs to and its size: only within one such place do angles say much.
Placed = tuple[tuple[object, ...], NDArray[np.float64]]


@dataclass(frozen=True)
class Share:
    """The commonest value and how many runs have it."""

    value: str
    count: int


@dataclass(frozen=True)
class Stability:
    """What the runs of a group chose.

    Attributes:
        runs: How many they are.
        method: The commonest.
        direction: The commonest.
        layer: The commonest.
        dose: Smallest and largest.
        alpha: Smallest and largest.
        steer: Runs whose validation recommends steering.
        cosines: Between what two runs add, for every pair whose vectors are there and of the same
            layers; sign and all.
    """

    runs: int
    method: Share
    direction: Share
    layer: Share
    dose: tuple[float, float]
    alpha: tuple[float, float]
    steer: int
    cosines: tuple[float, ...]


def stability_of(rows: Sequence[RunRow], params: Sequence[Mapping[str, Any]]) -> Stability:
    """What runs chose.

    Args:
        rows: The runs, at least one.
        params: Of each the tested configuration, under the names that results use.
    """
    found = [chosen_vector(row.results, each) for row, each in zip(rows, params, strict=True)]
    doses, alphas = ([row.steering_dose for row in rows], [row.steering_alpha for row in rows])
    return Stability(
        runs=len(rows),
        method=_commonest([row.method for row in rows]),
        direction=_commonest([row.direction for row in rows]),
        layer=_commonest([_layers(each) for each in params]),
        dose=(min(doses), max(doses)),
        alpha=(min(alphas), max(alphas)),
        steer=sum(row.recommendation == "steer" for row in rows),
        cosines=cosines([each for each in found if each is not None]),
    )


def chosen_vector(results: str | Path, params: Mapping[str, Any]) -> Placed | None:
    """What a configuration adds, as one long vector; None where its files are not there.

    Args:
        results: The run's results folder.
        params: The configuration.
    """
    candidate = candidate_from_params(params)
    paths = []
    for key in candidate.vector_keys:
        folder, name = file_of(key)
        inside = Path(folder) if folder == HEADS_FOLDER else Path("vectors", folder)
        paths.append(Path(results) / inside / name)
    try:
        vectors = [*read_vectors(paths).values()]
    except UserError:
        return None
    parts = [
        alpha * (vector.delta if isinstance(vector, HeadVector) else vector.raw).astype(float)
        for alpha, vector in zip(candidate.alphas, vectors, strict=True)
    ]
    place = (candidate.kind, *(() if candidate.kind == "heads" else candidate.steered))
    return (*place, *(part.shape for part in parts)), np.concatenate(
        [part.ravel() for part in parts]
    )


def cosines(vectors: Sequence[Placed]) -> tuple[float, ...]:
    """Between all pairs that are in the same place and have a length."""
    found = []
    for (place, one), (other_place, other) in combinations(vectors, 2):
        length = float(np.linalg.norm(one) * np.linalg.norm(other))
        if place == other_place and length > 0.0:
            found.append(float(one @ other) / length)
    return tuple(found)


def _layers(params: Mapping[str, Any]) -> str:
    candidate = candidate_from_params(params)
    if candidate.kind == "heads":
        return "all"
    return ", ".join(map(str, candidate.steered))


def _commonest(values: Sequence[str]) -> Share:
    """The first of the commonest."""
    [(value, count)] = Counter(values).most_common(1)
    return Share(value, count)
