"""Mean of execution thoughts minus that of reflection and transition thoughts (SEAL).

Chen et al. 2025, "SEAL: Steerable Reasoning Calibration of Large Language Models for Free" (arXiv
2504.07986). Every thought counts the same, whatever question it belongs to, so that this is no mean
of the pairs' differences.
"""

import numpy as np
from numpy.typing import NDArray

from snakesteer.vectors.activations import Activations
from snakesteer.vectors.probes import Probe


def estimate(activations: Activations, probe: Probe) -> NDArray[np.float32]:
    """The difference of the means, ``[hidden]`` float32.

    Raises:
        UserError: The pairs are not of thoughts.
    """
    mean = activations.mean_of_groups
    return (mean("execution") - mean("reflection", "transition")).astype(np.float32)
