"""Power against simulations and against sums done by hand."""

import math

import numpy as np
import pytest

from snakesteer.evaluation.power import (
    mcnemar_power,
    minimum_detectable_effect,
)
from snakesteer.evaluation.statistics import mcnemar_exact


def p_value(gained: int, lost: int, n: int) -> float:
    """McNemar's test of so many changed answers."""
    same = n - gained - lost
    baseline = [False] * gained + [True] * (lost + same)
    return mcnemar_exact(baseline, [True] * gained + [False] * lost + [True] * same).p_value


def slow_power(n: int, difference: float, discordant_rate: float) -> float:
    """Every number of gains and of losses, its chance and its test, one by one."""
    gain, loss = (discordant_rate + difference) / 2, (discordant_rate - difference) / 2
    total = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            same = n - gained - lost
            if p_value(gained, lost, n) < 0.05:
                total += (
                    math.comb(n, gained)
                    * math.comb(n - gained, lost)
                    * gain**gained
                    * loss**lost
                    * (1 - discordant_rate) ** same
                )
    return total


@pytest.mark.parametrize(("difference", "rate"), [(0.0, 0.5), (0.3, 0.4), (-0.3, 0.4), (0.4, 0.4)])
def test_power_is_the_sum_over_all_outcomes(difference, rate):
    assert mcnemar_power(20, difference, rate, 0.95) == pytest.approx(
        slow_power(20, difference, rate), abs=1e-12
    )


def test_power_grows_with_problems_and_effect_and_falls_with_changes():
    powers = [mcnemar_power(n, 0.1, 0.2, 0.95) for n in (50, 100, 200, 400)]
    assert powers == sorted(powers)
    powers = [mcnemar_power(100, effect, 0.2, 0.95) for effect in (0.0, 0.05, 0.1, 0.2)]
    assert powers == sorted(powers)
    powers = [mcnemar_power(100, 0.1, rate, 0.95) for rate in (0.5, 0.3, 0.2, 0.1)]
    assert powers == sorted(powers)
    assert mcnemar_power(100, 0.1, 0.2, 0.99) < mcnemar_power(100, 0.1, 0.2, 0.95)
    assert mcnemar_power(100, 0.0, 0.0, 0.95) == 0.0
    assert mcnemar_power(10, 1.0, 1.0, 0.95) == pytest.approx(1.0)
    for rate in (0.02, 0.1, 0.5, 1.0):  # an exact test never rejects too often
        assert mcnemar_power(100, 0.0, rate, 0.95) <= 0.05


@pytest.mark.parametrize(("difference", "rate"), [(0.2, 0.1), (-0.2, 0.1), (0.0, 1.1)])
def test_impossible_rates(difference, rate):
    with pytest.raises(ValueError, match="changed answers"):
        mcnemar_power(100, difference, rate, 0.95)


@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_simulated_power_is_the_computed_one(n, rate):
    effect = minimum_detectable_effect(n, rate, 0.95)
    assert effect is not None
    assert mcnemar_power(n, effect, rate, 0.95) == pytest.approx(0.8, abs=1e-4)
    for difference in (effect / 2, effect):
        gain, loss = (rate + difference) / 2, (rate - difference) / 2
        rng, repetitions = np.random.default_rng(0), 20_000
        drawn = rng.multinomial(n, [gain, loss, 1 - rate], size=repetitions)[:, :2]
        cases, counts = np.unique(drawn, axis=0, return_counts=True)
        rejected = [p_value(int(gained), int(lost), n) < 0.05 for gained, lost in cases]
        power = mcnemar_power(n, difference, rate, 0.95)
        error = math.sqrt(power * (1 - power) / repetitions)
        assert counts @ rejected / repetitions == pytest.approx(power, abs=3 * error)


def test_effects_larger_than_the_rate_of_changes():
    # With no change seen, the smallest detectable effect changes answers for the better only:
    # six of them are needed for p < 0.05, and come with 80 % chance.
    effect = minimum_detectable_effect(100, 0.0, 0.95)
    assert effect is not None
    chance = 1 - sum(math.comb(100, k) * effect**k * (1 - effect) ** (100 - k) for k in range(6))
    assert chance == pytest.approx(0.8, abs=1e-4)
    assert minimum_detectable_effect(100, 0.02, 0.95) == pytest.approx(effect)
    assert minimum_detectable_effect(5, 0.5, 0.95) is None  # 5 of 5 is p = 0.0625
    better = minimum_detectable_effect(100, 0.2, 0.95, power=0.9)
    usual = minimum_detectable_effect(100, 0.2, 0.95)
    assert better is not None
    assert usual is not None
    assert better > usual
