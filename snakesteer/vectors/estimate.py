"""From activations of contrast pairs to a steering vector of one layer, with its diagnostics."""

from dataclasses import dataclass

import numpy as np

from snakesteer.config import Direction
from snakesteer.errors import UserError
from snakesteer.records.tensors import Array
from snakesteer.steering.vector import Vector
from snakesteer.vectors.activations import Activations
from snakesteer.vectors.directions import estimator
from snakesteer.vectors.probes import Probe


@dataclass(frozen=True)
class Diagnostics:
    """Signs that a direction is worth steering with.

    Similar differences and separated classes predict that steering works (Braun et al. 2025, arXiv
    2505.22637; Tan et al. 2024, arXiv 2407.12404).

    Attributes:
        pairs: Number of contrast pairs.
        mean_cosine: Mean cosine between the differences of two pairs; 1 where all agree.
        norm_ratio: ‖mean difference‖ / mean ‖difference‖; 1 where all agree.
        dose_at_alpha_1: ‖raw‖ / mean residual norm.
    """

    pairs: int
    mean_cosine: float
    norm_ratio: float
    dose_at_alpha_1: float


def make_vector(direction: Direction, activations: Activations, probe: Probe) -> Vector:
    """Estimate a steering vector of one layer.

    Args:
        direction: Name of a module in `snakesteer.vectors.directions`.
        activations: Of the train pairs.
        probe: Fitted to them.

    Raises:
        UserError: The direction has no length.
        ValueError: The estimator does not return ``[hidden]``.
    """
    raw = np.asarray(estimator(direction)(activations, probe), dtype=np.float32)
    if raw.shape != activations.positive.shape[1:]:
        raise ValueError(
            f"snakesteer/vectors/directions/{direction}.py returned an array of shape {raw.shape}, "
            f"not {activations.positive.shape[1:]}"
        )
    vector = vector_at(direction, raw, activations)
    if not np.isfinite(raw).all() or vector.norm == 0.0:
        raise UserError(
            f"The {direction} direction of layer {vector.layer} has no length: the activations "
            "give none there (those of right and wrong solutions may be the same)",
            "Use another layer (steering.layers), another pairs.read, or more train problems.",
        )
    return vector


def vector_at(direction: Direction, raw: Array, activations: Activations) -> Vector:
    """A direction of the layer that activations were read at, with the residual norm there."""
    return Vector(
        direction=direction,
        layer=int(activations.attributes["layer"]),
        raw=raw,
        mean_residual_norm=float(activations.residual_norm.mean(dtype=np.float64)),
    )


def diagnose(vector: Vector, activations: Activations) -> Diagnostics:
    """How well the pairs agree on a direction."""
    differences = activations.positive.astype(np.float64) - activations.negative
    norms = np.linalg.norm(differences, axis=1)
    n = len(differences)
    units = differences[norms > 0] / norms[norms > 0, None]
    m = len(units)
    # The sum over all pairs of pairs, from the length of the sum of unit vectors.
    total = float(np.sum(np.square(units.sum(axis=0))))
    return Diagnostics(
        pairs=n,
        mean_cosine=(total - m) / (m * (m - 1)) if m > 1 else 0.0,
        norm_ratio=float(np.linalg.norm(differences.mean(axis=0)) / norms.mean()),
        dose_at_alpha_1=vector.dose(1.0),
    )
