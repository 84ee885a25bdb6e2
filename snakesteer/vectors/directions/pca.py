"""First principal component of the pairs' differences (repeng's pca_diff).

Zou et al. 2023, "Representation Engineering" (arXiv 2310.01405), as in vgel/repeng (`pca_diff`):
PCA centres the differences first, so that this is the direction in which they vary most from pair
to pair; its sign is the one that most pairs agree with. Unlike there, its length is not 1, the
decomposition is always the exact one (scikit-learn's default for many features is randomised), and
activations are read where `pairs.read` says, not always at the last token.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from snakesteer.vectors.activations import Activations
from snakesteer.vectors.probes import Probe


def estimate(activations: Activations, probe: Probe) -> NDArray[np.float32]:
    """The first principal component, ``[hidden]`` float32.

    Its length is the distance of the classes' means along it, as for `probe`. Where all differences
    are the same there is no component, and the result is 0.
    """
    differences = activations.positive.astype(np.float64) - activations.negative
    if np.ptp(differences, axis=0).max() == 0.0:
        return np.zeros(differences.shape[1], dtype=np.float32)
    unit = PCA(n_components=1, svd_solver="full").fit(differences).components_[0]
    gaps = differences @ unit
    sign = -1.0 if (gaps < 0).sum() > (gaps > 0).sum() else 1.0
    return (sign * abs(gaps.mean()) * unit).astype(np.float32)
