"""Weight vector of the logistic-regression probe.

As in Li et al. 2023, "Inference-Time Intervention" (arXiv 2306.03341), with one probe on the whole
residual stream in place of one per attention head.
"""

import numpy as np
from numpy.typing import NDArray

from snakesteer.vectors.activations import Activations
from snakesteer.vectors.directions.caa import mean_difference
from snakesteer.vectors.probes import Probe


def estimate(activations: Activations, probe: Probe) -> NDArray[np.float32]:
    """The probe's weight direction, ``[hidden]`` float32.

    Its length is the mean difference of the pairs along it, so that α = 1 moves an activation as
    far as the classes lie apart, as it does for `caa`.
    """
    unit = probe.weight / np.linalg.norm(probe.weight.astype(np.float64))
    gap = float(unit @ mean_difference(activations))
    return (gap * unit).astype(np.float32)
