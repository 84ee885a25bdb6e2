"""Mean activation of right solutions minus the mean residual stream of all texts.

Jorgensen et al. 2023, "Improving Activation Steering in Language Models with Mean-Centring" (arXiv
2312.03813): a dataset's mean activation is mostly what all texts share, so the mean over other text
is taken off. There that text is a sample of the model's training data; here it is every position
from the last prompt token on, of right and wrong solutions alike.
"""

import numpy as np
from numpy.typing import NDArray

from snakesteer.vectors.activations import Activations
from snakesteer.vectors.probes import Probe


def estimate(activations: Activations, probe: Probe) -> NDArray[np.float32]:
    """Mean positive activation minus the background, ``[hidden]`` float32."""
    positive = activations.positive.mean(axis=0, dtype=np.float64)
    return (positive - activations.residual_mean).astype(np.float32)
