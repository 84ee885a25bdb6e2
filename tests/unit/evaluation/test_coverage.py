"""Do the intervals hold the truth as often as they say, and how often is the verdict wrong?

Nominal 95 %. From 100 problems on, both intervals hold the truth in 93–97 % of the runs. They do
not everywhere: Wilson's falls to 89 % for accuracies below 5 % on 20 problems, the bootstrap to
90 % (or rises to 98 %) where two or three of 50 answers change, which is why the verdict asks the
exact test as well.
"""

import functools
import math

import numpy as np
import pytest
from scipy.stats import binom

from snakesteer.evaluation.power import minimum_detectable_effect
from snakesteer.evaluation.statistics import (
    bootstrap_mean,
    mcnemar_exact,
    paired_bootstrap,
    sign_flip,
    verdict,
    wilson,
)


@pytest.mark.parametrize("n", [100, 300, 1000])
def test_wilson_covers(n):
    # No simulation: the chance of every number of right answers, summed where the interval holds.
    low, high = np.array([wilson(correct, n, 0.95) for correct in range(n + 1)]).T
    truth = np.linspace(0.1, 0.9, 161)[:, None]
    chance = binom.pmf(np.arange(n + 1), n, truth)  # [truths, numbers of right answers]
    covered = (chance * ((low <= truth) & (truth <= high))).sum(axis=1)
    assert covered.min() >= 0.93
    assert covered.max() <= 0.97
    assert covered.mean() == pytest.approx(0.95, abs=0.003)


@functools.cache
def said(gained: int, lost: int, n: int) -> tuple[float, float, str]:
    """Interval and verdict for so many changed answers."""
    baseline = [False] * gained + [True] * (n - gained)
    steered = [True] * gained + [False] * lost + [True] * (n - gained - lost)
    seed = 7919 * gained + lost
    interval = paired_bootstrap(baseline, steered, 999 if n < 1000 else 499, 0.95, seed)
    p_value = mcnemar_exact(baseline, steered).p_value
    return interval.low, interval.high, verdict(interval, p_value, 1.0, 0.95)


def simulated(n: int, changed: float, difference: float, repetitions: int):
    """Share of runs whose interval holds the truth, that help, and that hurt, by their words."""
    chances = [(changed + difference) / 2, (changed - difference) / 2, 1 - changed]
    drawn = np.random.default_rng(1).multinomial(n, chances, size=repetitions)[:, :2]
    cases, counts = np.unique(drawn, axis=0, return_counts=True)
    found = [said(int(gained), int(lost), n) for gained, lost in cases]
    # Differences come in steps of 1/n: one that rounding moved off its step still counts.
    held = [low - 1e-9 <= difference <= high + 1e-9 for low, high, _ in found]
    shares = [held, *([words == word for *_, words in found] for word in ("helps", "hurts"))]
    return [counts @ np.array(share) / repetitions for share in shares]


SETTINGS = [(100, 0.1, 4000), (100, 0.3, 4000), (300, 0.1, 2000), (300, 0.3, 1500)]


@pytest.mark.parametrize(("n", "changed", "repetitions"), [*SETTINGS, (1000, 0.1, 1000)])
def test_nothing_changed(n, changed, repetitions):
    held, helps, hurts = simulated(n, changed, 0.0, repetitions)
    assert 0.93 <= held <= 0.97
    assert helps + hurts <= 0.05
    assert min(helps, hurts) > 0.0  # a verdict that never errs finds nothing either


@pytest.mark.parametrize(("n", "changed", "repetitions"), SETTINGS)
def test_steering_helps_by_what_can_just_be_detected(n, changed, repetitions):
    effect = minimum_detectable_effect(n, changed, 0.95)
    assert effect is not None
    held, helps, hurts = simulated(n, changed, effect, repetitions)
    assert 0.93 <= held <= 0.97
    # Asking the interval, too, costs no power that a simulation could see.
    assert helps == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / repetitions))
    assert hurts == 0.0


def test_several_answers_per_problem():
    # Problems differ in difficulty, and three answers to one problem are alike.
    rng, n, samples, repetitions = np.random.default_rng(2), 100, 3, 600
    difficulty = rng.beta(0.6, 0.6, size=(repetitions, n, 1))
    before, after = (rng.random((repetitions, n, samples)) < difficulty for _ in range(2))
    held = accuracy_held = claims = 0
    for baseline, steered in zip(before.mean(axis=2), after.mean(axis=2), strict=True):
        interval = paired_bootstrap(baseline, steered, 499, 0.95, seed=3)
        held += interval.low <= 0.0 <= interval.high
        p_value = sign_flip(baseline, steered, 499, seed=3)
        claims += verdict(interval, p_value, 1.0, 0.95) != "inconclusive"
        accuracy = bootstrap_mean(baseline, 499, 0.95, seed=3)
        accuracy_held += accuracy.low <= 0.5 <= accuracy.high
    assert 0.93 <= held / repetitions <= 0.97
    assert 0.93 <= accuracy_held / repetitions <= 0.97
    assert claims / repetitions <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)
