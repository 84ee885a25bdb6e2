import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    changed,
    mcnemar_exact,
    paired_bootstrap,
    sign_flip,
    verdict,
    wilson,
)

outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def runs(gained: int, lost: int, same: int) -> tuple[list[bool], list[bool]]:
    return (
        [False] * gained + [True] * lost + [True] * same,
        [True] * gained + [False] * lost + [True] * same,
    )


def test_wilson_against_the_formula():
    # Wilson 1927, with z = 1.959964
    n, p, z = 40, 0.3, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson(12, 40, 0.95) == pytest.approx((centre - half, centre + half), abs=1e-12)


@given(n=st.integers(1, 500), data=st.data())
def test_wilson_holds_the_accuracy_and_is_symmetric(n, data):
    correct = data.draw(st.integers(0, n))
    low, high = wilson(correct, n, 0.95)
    assert 0 <= low <= correct / n + 1e-12
    assert correct / n - 1e-12 <= high <= 1
    assert high > low
    assert wilson(n - correct, n, 0.95) == pytest.approx((1 - high, 1 - low))
    wide_low, wide_high = wilson(correct, n, 0.99)
    assert wide_high - wide_low > high - low


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_accuracy(correct, n):
    with pytest.raises(ValueError, match="not an accuracy"):
        wilson(correct, n, 0.95)


@given(outcomes)
def test_bootstrap_holds_its_estimate_and_mirrors(pairs):
    baseline, steered = zip(*pairs, strict=True)
    interval = paired_bootstrap(baseline, steered, 200, 0.95, seed=0)
    assert interval.estimate == pytest.approx(np.mean(steered) - np.mean(baseline))
    assert -1 <= interval.low <= interval.high <= 1
    mirrored = paired_bootstrap(steered, baseline, 200, 0.95, seed=0)
    assert (mirrored.estimate, mirrored.low, mirrored.high) == pytest.approx(
        (-interval.estimate, -interval.high, -interval.low)
    )


def test_bootstrap_is_a_function_of_its_seed():
    baseline, steered = runs(20, 9, 71)
    first = paired_bootstrap(baseline, steered, 2000, 0.95, seed=1)
    assert first == paired_bootstrap(baseline, steered, 2000, 0.95, seed=1)
    others = {paired_bootstrap(baseline, steered, 201, 0.95, seed=s) for s in range(20)}
    assert len(others) > 1


def test_bootstrap_is_close_to_the_normal_interval_where_that_holds():
    baseline, steered = runs(120, 80, 300)
    difference = np.asarray(steered, float) - np.asarray(baseline, float)
    half = 1.959964 * difference.std() / math.sqrt(len(difference))
    interval = paired_bootstrap(baseline, steered, 10_000, 0.95, seed=0)
    assert interval.low == pytest.approx(0.08 - half, abs=0.004)
    assert interval.high == pytest.approx(0.08 + half, abs=0.004)
    wider = paired_bootstrap(baseline, steered, 10_000, 0.99, seed=0)
    assert wider.low < interval.low < interval.high < wider.high


@pytest.mark.parametrize(
    ("counts", "estimate"), [((0, 0, 30), 0.0), ((7, 0, 0), 1.0), ((0, 7, 0), -1.0)]
)
def test_equal_differences_give_an_interval_without_width(counts, estimate):
    interval = paired_bootstrap(*runs(*counts), 100, 0.95, seed=0)
    assert interval == Interval(estimate, estimate, estimate)


@pytest.mark.parametrize(("baseline", "steered"), [([], []), ([True], [True, False])])
def test_runs_must_answer_the_same_problems(baseline, steered):
    with pytest.raises(ValueError, match="same problems"):
        paired_bootstrap(baseline, steered, 100, 0.95, 0)
    with pytest.raises(ValueError, match="same problems"):
        mcnemar_exact(baseline, steered)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_two_sided_binomial_tail(gained, lost, same):
    if gained + lost + same == 0:
        return
    result = mcnemar_exact(*runs(gained, lost, same))
    assert (result.gained, result.lost) == (gained, lost)
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
    assert result.p_value == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.parametrize(
    ("interval", "p_value", "equivalence", "word"),
    [
        (Interval(0.1, 0.02, 0.18), 0.01, 1.0, "helps"),
        (Interval(-0.1, -0.18, -0.02), 0.01, 1.0, "hurts"),
        (Interval(0.1, 0.02, 0.18), 0.05, 1.0, "inconclusive"),
        (Interval(0.1, 0.0, 0.2), 0.01, 1.0, "inconclusive"),
        (Interval(-0.1, -0.2, 0.0), 0.01, 1.0, "inconclusive"),
        (Interval(0.0, 0.0, 0.0), 1.0, 0.05, "inconclusive"),
        (Interval(0.0, 0.0, 0.0), 1.0, 0.04, "equivalent"),
        (Interval(0.01, 0.002, 0.018), 0.01, 0.04, "helps"),  # small, but there
    ],
)
def test_verdict_in_one_word(interval, p_value, equivalence, word):
    assert verdict(interval, p_value, equivalence, 0.95) == word


def test_one_gain_and_nothing_else_is_no_proof():
    # Every resample is 1.0, so that the interval alone would claim an effect from three problems.
    baseline, steered = runs(3, 0, 0)
    interval = paired_bootstrap(baseline, steered, 100, 0.95, seed=0)
    assert interval.low > 0
    p_value = mcnemar_exact(baseline, steered).p_value
    assert verdict(interval, p_value, 1.0, 0.95) == "inconclusive"


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3))
def test_sign_flips_of_single_answers_are_mcnemars_test(gained, lost, same):
    if gained + lost + same == 0:
        return
    baseline, steered = runs(gained, lost, same)
    p_value = sign_flip(baseline, steered, 2**16, seed=0)  # more than there are patterns: exact
    assert p_value == pytest.approx(mcnemar_exact(baseline, steered).p_value)


def test_sign_flips_against_all_patterns():
    before, after = [0.0, 1 / 3, 2 / 3, 1.0, 0.0], [2 / 3, 2 / 3, 1.0, 2 / 3, 1.0]
    difference = np.subtract(after, before)
    sums = [np.dot(signs, difference) for signs in itertools.product((-1, 1), repeat=5)]
    larger = np.mean([total >= difference.sum() - 1e-9 for total in sums])
    assert sign_flip(before, after, 1000, seed=0) == pytest.approx(2 * larger)
    assert sign_flip(after, before, 1000, seed=0) == pytest.approx(2 * larger)
    assert changed(before, after) == (4, 1)


def test_bootstrap_of_a_mean():
    values = np.random.default_rng(0).random(200)
    interval = bootstrap_mean(values, 2000, 0.95, seed=0)
    half = 1.96 * values.std() / math.sqrt(200)
    assert interval.estimate == values.mean()
    assert interval.low == pytest.approx(values.mean() - half, abs=0.005)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.005)
    assert bootstrap_mean([0.25] * 4, 100, 0.95, seed=0) == Interval(0.25, 0.25, 0.25)
