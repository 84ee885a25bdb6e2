"""Mean of execution thoughts minus that of reflection, minus that of transition thoughts.

SEAL (arXiv 2504.07986) as ZJU-REAL/EasySteer runs it (experiment/math): the three means are three
vectors, of which the first is added and the others are taken off. Two means are thus taken from
one, and what all thoughts have in common is not 0 in the result, but −1 times itself.
"""

import numpy as np
from numpy.typing import NDArray

from snakesteer.vectors.activations import Activations
from snakesteer.vectors.probes import Probe


def estimate(activations: Activations, probe: Probe) -> NDArray[np.float32]:
    """The sum, ``[hidden]`` float32; a class without a thought adds nothing.

    Raises:
        UserError: The pairs are not of thoughts.
    """
    found = activations.mean_of_groups("execution")
    for kind in ("reflection", "transition"):
        if kind in activations.groups:
            found = found - activations.mean_of_groups(kind)
    return found.astype(np.float32)
