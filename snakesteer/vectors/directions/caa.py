"""Mean difference of the pairs (CAA).

Rimsky et al. 2023, "Steering Llama 2 via Contrastive Activation Addition" (arXiv 2312.06681). Its
rescaling across behaviours is the identity for one behaviour.
"""

import numpy as np
from numpy.typing import NDArray

from snakesteer.vectors.activations import Activations
from snakesteer.vectors.probes import Probe


def estimate(activations: Activations, probe: Probe) -> NDArray[np.float32]:
    """Mean difference of the pairs, ``[hidden]`` float32."""
    return mean_difference(activations).astype(np.float32)


def mean_difference(activations: Activations) -> NDArray[np.float64]:
    """Mean of right minus wrong activations, ``[hidden]``."""
    differences: NDArray[np.float64] = activations.positive.astype(np.float64)
    return (differences - activations.negative).mean(axis=0)
