"""From activations of contrast pairs to a steering vector of one layer, with its diagnostics."""

import logging
from dataclasses import dataclass, replace

import numpy as np

from snakesteer.config import Direction
from snakesteer.config.catalogue import IMPORTED
from snakesteer.errors import UserError
from snakesteer.records.tensors import Array
from snakesteer.steering.vector import Vector
from snakesteer.vectors.activations import Activations
from snakesteer.vectors.directions import estimator
from snakesteer.vectors.probes import Probe
from snakesteer.vectors.token_means import Rows, crossed_part

logger = logging.getLogger(__name__)


# Random splits of the pairs into halves, and the seed that draws them.
SPLITS, SPLIT_SEED = 200, 0
# By Spearman and Brown's formula a mean over all pairs then agrees with another such mean at 1/2:
# less than half of its squared length is the same from sample to sample.
NOISY_COSINE = 1 / 3
TOKEN_COSINE, TOKEN_SHARE = 0.8, 0.5


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
        split_half_cosine: Mean cosine between the mean differences of two random halves of the
            pairs, over `SPLITS` splits.
        split_half_interval: The middle 95% of these cosines.
        token_cosine: Cosine of the vector with what the read tokens alone predict of the mean
            difference, by effects of tokens estimated on other pairs and without their labels; 0
            where both sides are read at the same tokens.
        token_share: How much of the mean difference d that prediction p gives, 1 − ‖d − p‖²/‖d‖²:
            where p is short, its direction means little.
        warnings: What speaks against the vector, in words.
    """

    pairs: int
    mean_cosine: float
    norm_ratio: float
    dose_at_alpha_1: float
    split_half_cosine: float
    split_half_interval: tuple[float, float]
    token_cosine: float
    token_share: float
    warnings: tuple[str, ...]


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
    """A direction of the layer that activations were read at, with the residual stream there."""
    return Vector(
        direction=direction,
        layer=int(activations.attributes["layer"]),
        raw=raw,
        mean_residual_norm=float(activations.residual_norm.mean(dtype=np.float64)),
        residual_mean=activations.residual_mean,
    )


def diagnose(vector: Vector, activations: Activations) -> Diagnostics:
    """How well the pairs agree on a direction, and how much of the vector is what was written.

    What it warns of is logged, too.
    """
    differences = activations.positive.astype(np.float64) - activations.negative
    norms = np.linalg.norm(differences, axis=1)
    n = len(differences)
    units = differences[norms > 0] / norms[norms > 0, None]
    m = len(units)
    # The sum over all pairs of pairs, from the length of the sum of unit vectors.
    total = float(np.sum(np.square(units.sum(axis=0))))
    halves = split_half_cosines(differences, SPLITS, SPLIT_SEED)
    low, high = np.quantile(halves, (0.025, 0.975))
    right, wrong = crossed_part(activations)
    mean, predicted = differences.mean(axis=0), (right - wrong).mean(axis=0)
    found = Diagnostics(
        pairs=n,
        mean_cosine=(total - m) / (m * (m - 1)) if m > 1 else 0.0,
        norm_ratio=float(np.linalg.norm(mean) / norms.mean()),
        dose_at_alpha_1=vector.dose(1.0),
        split_half_cosine=float(halves.mean()),
        split_half_interval=(float(low), float(high)),
        token_cosine=float(_cosine(vector.raw.astype(np.float64), predicted)),
        token_share=float(1.0 - np.square(mean - predicted).sum() / np.square(mean).sum()),
        warnings=(),
    )
    for warning in (warnings := _warnings(vector, found)):
        logger.warning("%s, layer %d: %s", vector.direction, vector.layer, warning)
    return replace(found, warnings=warnings)


def split_half_cosines(differences: Rows, splits: int, seed: int) -> Rows:
    """Cosines between the mean differences of two random halves of the pairs.

    Args:
        differences: ``[pairs, hidden]``, right minus wrong; of an odd number of pairs the second
            half has one more.
        splits: Number of random splits.
        seed: Of the splits.

    Returns:
        ``[splits]``; 0 where a half has no difference.
    """
    draw, pairs = np.random.default_rng(seed), len(differences)
    first = np.zeros((splits, pairs))
    for row in first:
        row[draw.permutation(pairs)[: pairs // 2]] = 1.0
    # The length of a sum is no matter.
    return _cosine(first @ differences, (1.0 - first) @ differences)


def _cosine(a: Rows, b: Rows) -> Rows:
    """Cosine along the last axis; 0 where one has no length."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    products = (a * b).sum(axis=-1)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0.0)


def _warnings(vector: Vector, found: Diagnostics) -> tuple[str, ...]:
    warnings = []
    low, high = found.split_half_interval
    # A vector from a file owes nothing to these pairs.
    if vector.direction != IMPORTED and (low <= 0.0 or found.split_half_cosine < NOISY_COSINE):
        warnings.append(
            f"mostly noise: the mean differences of two halves of the {found.pairs} pairs have a "
            f"cosine of {found.split_half_cosine:.2f} (95% of splits {low:.2f} to {high:.2f}); "
            "more pairs (data.train) may help"
        )
    if found.token_cosine > TOKEN_COSINE and found.token_share > TOKEN_SHARE:
        warnings.append(
            f"mostly token identity: it has a cosine of {found.token_cosine:.2f} with what the "
            "read tokens alone predict; read elsewhere (pairs.read), or set "
            "pairs.remove_token_means: true"
        )
    return tuple(warnings)
