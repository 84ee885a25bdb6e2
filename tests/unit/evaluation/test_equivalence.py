"""Equivalence: how often it is claimed where it should not be, and where it should."""

import math

import numpy as np
import pytest

from snakesteer.evaluation.equivalence import equivalence_p


def runs(gained, lost, n):
    before = [0.0] * gained + [1.0] * (n - gained)
    after = [1.0] * gained + [0.0] * lost + [1.0] * (n - gained - lost)
    return before, after


def claimed(n, margin, changed, difference, repetitions, seed=0):
    """Share of simulated tests that claim equivalence at a level of 5 %."""
    chances = [(changed + difference) / 2, (changed - difference) / 2, 1 - changed]
    drawn = np.random.default_rng(seed).multinomial(n, chances, size=repetitions)[:, :2]
    cases, counts = np.unique(drawn, axis=0, return_counts=True)
    found = [equivalence_p(*runs(int(g), int(lo), n), margin) < 0.05 for g, lo in cases]
    return counts @ np.array(found) / repetitions


@pytest.mark.parametrize(
    ("n", "margin", "changed"),
    [
        (100, 0.05, 0.05),  # the effect is all that changes
        (100, 0.1, 0.12),
        (300, 0.02, 0.02),
        (300, 0.05, 0.1),
        (1000, 0.02, 0.05),
        (1000, 0.05, 0.3),
    ],
)
def test_a_difference_of_the_margin_is_seldom_called_equivalent(n, margin, changed):
    repetitions = 8000
    error = 3 * math.sqrt(0.05 * 0.95 / repetitions)
    for sign in (1, -1):
        assert claimed(n, margin, changed, sign * margin, repetitions) <= 0.05 + error


def test_without_an_effect_enough_problems_show_it():
    assert claimed(1000, 0.02, 0.05, 0.0, 4000) == pytest.approx(0.73, abs=0.03)
    assert claimed(100, 0.02, 0.05, 0.0, 4000) == 0.0


def test_that_nothing_changed_proves_little_on_few_problems():
    # A gain of two in a hundred leaves no trace on n problems with a chance of 0.98^n.
    assert equivalence_p(*runs(0, 0, 20), 0.02) == pytest.approx(0.98**20)
    assert equivalence_p(*runs(0, 0, 148), 0.02) > 0.05
    assert equivalence_p(*runs(0, 0, 149), 0.02) < 0.05


def test_both_sides_count():
    assert equivalence_p(*runs(30, 0, 300), 0.05) == equivalence_p(*runs(0, 30, 300), 0.05) > 0.9


def test_several_answers_per_problem():
    rng = np.random.default_rng(1)
    claims, repetitions = 0, 2000
    for _ in range(repetitions):
        before = rng.integers(0, 5, 200) / 4
        after = np.clip(before + rng.choice([-0.25, 0.0, 0.25, 0.5], 200), 0.0, 1.0)
        claims += equivalence_p(before, after, 0.0875) < 0.05  # what it adds on average
    assert 0.0 < claims / repetitions <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions)
    same = rng.integers(0, 5, 400) / 4
    other = np.clip(same + rng.choice([-0.25, 0.0, 0.25], 400), 0.0, 1.0)
    assert equivalence_p(same, other, 0.05) < 0.05


def test_runs_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="same problems"):
        equivalence_p([1.0], [1.0, 0.0], 0.02)
