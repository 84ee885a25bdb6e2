"""Whether two runs are as good as each other: two one-sided tests within a margin.

"No detectable effect" is not "no effect". Equivalence is claimed where differences as large as the
margin are rejected on both sides (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15).
"""

import numpy as np
from scipy.stats import beta, norm, ttest_1samp

from snakesteer.evaluation.statistics import Outcomes, differences_of


def equivalence_p(baseline: Outcomes, steered: Outcomes, margin: float) -> float:
    """The p-value of equivalence: the larger one of both sides.

    With one answer per problem each side is Tango's score test of a paired difference (Tango 1998,
    Statistics in Medicine 17); with several it is a t-test of the shares of right answers. Where
    few answers changed, neither keeps its level (that nothing changed on 20 problems is no surprise
    with a true effect of five points): an exact binomial test of the gains alone, and one of the
    losses alone, must then reject, too.

    Args:
        baseline: Per problem, whether the unsteered answer is correct (or the share that is).
        steered: The same for the steered answer, in the same order.
        margin: Largest difference that does not matter, in (0, 1).

    Returns:
        In [0, 1]; equivalent at level a where it is below a.

    Raises:
        ValueError: The lengths differ or there are no problems.
    """
    differences = differences_of(baseline, steered)
    n = len(differences)
    gained = float(differences[differences > 0].sum())
    lost = float(-differences[differences < 0].sum())
    if set(np.unique(differences)) <= {-1.0, 0.0, 1.0}:
        sides = [_score_p(gained, lost, n, margin), _score_p(lost, gained, n, margin)]
    else:
        sides = [
            float(ttest_1samp(side * differences, margin, alternative="less").pvalue)
            for side in (1.0, -1.0)
        ]
    exact = [_few_p(gained, lost, n, margin), _few_p(lost, gained, n, margin)]
    return max(*sides, *exact)


def _score_p(gained: float, lost: float, n: int, margin: float) -> float:
    """One side of Tango's test: that (gained − lost) / n is at least the margin."""
    # The most likely rate of losses, were the difference the margin.
    b = -gained - lost + (2 * n - gained + lost) * margin
    c = -lost * margin * (1.0 - margin)
    losses = (np.sqrt(b * b - 8 * n * c) - b) / (4 * n)
    variance = n * (2 * losses + margin * (1.0 - margin))
    return float(norm.cdf((gained - lost - n * margin) / np.sqrt(variance)))


def _few_p(gained: float, lost: float, n: int, margin: float) -> float:
    """The chance of so few gains, were they the margin more than the losses."""
    rate = margin + lost / n
    # The binomial distribution function, which also takes shares of gains.
    return float(beta.sf(rate, gained + 1.0, n - gained)) if rate < 1.0 and gained < n else 1.0
