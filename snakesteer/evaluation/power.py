"""What a test can find: power, and the smallest effect that it finds four times in five.

It is said before the run, from the number of problems and a planned share of changed answers: a
hundred problems cannot show a change of three points, whatever steering does.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom


def mcnemar_power(n: int, difference: float, discordant_rate: float, confidence: float) -> float:
    """The chance that McNemar's exact test rejects.

    Exact, too: the binomial chance of every number of changed answers, times the binomial chance
    that so many of them are gained that the test rejects (Duffy 1984, "Asymptotic and exact power
    for the McNemar test", Biometrics 40).

    Args:
        n: Problems.
        difference: True accuracy difference, the chance of a gain less that of a loss.
        discordant_rate: Chance that an answer changes at all, at least ``|difference|``.
        confidence: The test rejects where p < 1 − confidence.

    Raises:
        ValueError: The difference is larger than the rate of changes, or that is no rate.
    """
    if not 0.0 <= abs(difference) <= discordant_rate <= 1.0:
        raise ValueError(
            f"a difference of {difference} needs at least so many changed answers, and at most "
            f"all: not {discordant_rate}"
        )
    if discordant_rate == 0.0:
        return 0.0
    gain = (discordant_rate + difference) / (2.0 * discordant_rate)
    changed = np.arange(n + 1)
    # The largest number of gains (or losses) that is too small to be chance.
    critical = binom.ppf((1.0 - confidence) / 2.0, changed, 0.5) - 1.0
    rejects = binom.cdf(critical, changed, gain) + binom.cdf(critical, changed, 1.0 - gain)
    return float(binom.pmf(changed, n, discordant_rate) @ rejects)


def minimum_detectable_effect(
    n: int, discordant_rate: float, confidence: float, power: float = 0.8
) -> float | None:
    """The smallest accuracy difference that McNemar's exact test finds with a given power.

    It depends on how many answers change at all. An effect larger than the given rate of changes
    is taken to change that many answers, all for the better.

    Args:
        n: Problems.
        discordant_rate: Share of answers that change.
        confidence: The test rejects where p < 1 − confidence.
        power: The chance to find it.

    Returns:
        A fraction (0.04 is four points), or None where so few problems can show nothing.
    """

    def missing(effect: float) -> float:
        return mcnemar_power(n, effect, max(discordant_rate, effect), confidence) - power

    if missing(1.0) < 0.0:
        return None
    return float(brentq(missing, 0.0, 1.0, xtol=1e-6))
