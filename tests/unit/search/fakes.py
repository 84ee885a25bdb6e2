"""Vectors and graded answers made by hand."""

import numpy as np

from snakesteer.evaluation.answers import Answer
from snakesteer.steering.vector import Vector
from tests.tiny_models import HIDDEN

LAYERS = (0, 2, 3)
VECTORS = {
    (direction, layer): Vector(
        direction=direction,
        layer=layer,
        raw=np.full(HIDDEN, 0.5 + layer + scale, dtype=np.float32),
        mean_residual_norm=10.0 * (1 + layer),
    )
    for direction, scale in (("caa", 0.0), ("probe", 0.25))
    for layer in LAYERS
}


def answers_of(correct):
    """One answer for each outcome."""
    return [
        Answer(f"p{index}", bool(right), False, bool(right), "1", "1", "eos", 5, 7)
        for index, right in enumerate(correct)
    ]
