"""Validation of the train part against test: by hand, as published, and how often it errs."""

import math

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from snakesteer.evaluation.origins import (
    Counts,
    compare_counts,
    compare_origins,
    effective_counts,
    knows_train_part,
)

METRICS = {"accuracy": 0.45, "accuracy_ci": [0.35, 0.55], "total_samples": 100}
HALF = [1.0] * 45 + [0.0] * 55


def summary(correct: int, n: int) -> dict[str, float]:
    return {"accuracy": correct / n, "correct": correct, "total_samples": n}


def test_newcombe_as_published():
    # Newcombe 1998, table II, method 10: contrasts (a), (b) and (g).
    for one, other, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ):
        interval, _ = compare_counts(Counts(*one), Counts(*other), 0.95)
        assert interval == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_fisher_by_hand():
    # All tables with 11 right answers that are no likelier than 8 of 10 against 3 of 12.
    chance = hypergeom.pmf(np.arange(11), 22, 11, 10)
    _, p_value = compare_counts(Counts(8, 10), Counts(3, 12), 0.95)
    assert p_value == pytest.approx(chance[chance <= chance[8] * (1 + 1e-9)].sum())


def test_the_record():
    found = compare_origins("train", summary(60, 80), METRICS, HALF, 0.95)
    assert found["validation"]["from"] == "train"
    assert (found["validation"]["n"], found["validation"]["accuracy"]) == (80, 0.75)
    low, high = found["validation"]["ci"]
    assert low < 0.75 < high
    assert found["test"] == {"from": "test", "n": 100, "accuracy": 0.45, "ci": [0.35, 0.55]}
    assert found["difference"] == pytest.approx(0.3)
    low, high = found["difference_ci"]
    assert 0.1 < low < 0.3 < high < 0.5
    assert found["p_value"] < 0.001
    assert knows_train_part(found, 0.95)
    assert not knows_train_part(found, 1.0 - found["p_value"] / 2)


def test_worse_on_validation_is_no_sign():
    found = compare_origins("train", summary(16, 80), METRICS, HALF, 0.95)
    assert found["p_value"] < 0.001
    assert not knows_train_part(found, 0.95)


def test_nothing_is_compared_within_the_test_part():
    found = compare_origins("test", summary(80, 80), METRICS, HALF, 0.95)
    assert found["validation"]["from"] == "test"
    assert [found[key] for key in ("difference", "difference_ci", "p_value")] == [None] * 3
    assert not knows_train_part(found, 0.95)


def test_one_answer_per_problem_counts_once():
    assert effective_counts(HALF, 100) == Counts(45.0, 100.0)


def test_answers_that_are_all_alike_count_once_per_problem():
    found = effective_counts(HALF, 400)
    assert (found.right, found.n) == (pytest.approx(45.0), pytest.approx(100.0))
    for share in (0.0, 1.0):
        assert effective_counts([share] * 100, 400) == Counts(100.0 * share, 100.0)


def test_independent_answers_count_each():
    rng = np.random.default_rng(0)
    shares = rng.binomial(8, 0.4, size=5000) / 8
    found = effective_counts(shares, 40000)
    assert found.n == pytest.approx(40000, rel=0.05)
    assert found.right / found.n == pytest.approx(shares.mean())
    assert effective_counts([0.5] * 10, 20) == Counts(10.0, 20.0)  # no scatter at all


@pytest.mark.parametrize(("val", "test"), [(20, 20), (96, 100), (200, 300), (319, 1000)])
def test_the_warning_keeps_its_level(val, test):
    # No simulation: the chances of all pairs of numbers of right answers that warn, summed.
    rights = np.arange(val + 1)
    for truth in (0.1, 0.45, 0.8):
        chance = binom.pmf(np.arange(test + 1), test, truth)
        at_val = binom.pmf(rights, val, truth)
        wrong = 0.0
        for on_test in np.flatnonzero(chance > 1e-7):
            # The more are right on validation, the surer: the first number that warns is enough.
            low, high = int(on_test * val / test), val + 1
            while low < high:
                middle = (low + high) // 2
                warns = warned(middle, val, int(on_test), test)
                low, high = (low, middle) if warns else (middle + 1, high)
            wrong += chance[on_test] * at_val[low:].sum()
        assert 0.0 < wrong <= 0.025 + 1e-6


def warned(right: int, n: int, on_test: int, problems: int) -> bool:
    shares = np.repeat([1.0, 0.0], [on_test, problems - on_test])
    metrics = {"accuracy": on_test / problems, "accuracy_ci": [0, 1], "total_samples": problems}
    found = compare_origins("train", summary(right, n), metrics, shares, 0.95)
    return knows_train_part(found, 0.95)


def simulated_warnings(gap: float, samples: int, repetitions: int) -> float:
    """Share of runs that warn; problems differ in difficulty, and validation is easier by a gap."""
    rng, n, problems = np.random.default_rng(4), 100, 300
    warnings = 0
    for _ in range(repetitions):
        easy = np.minimum(rng.beta(0.8, 0.8, size=n) + gap, 1.0)
        right = int((rng.random(n) < easy).sum())
        difficulty = rng.beta(0.8, 0.8, size=problems)
        shares = (rng.random((samples, problems)) < difficulty).mean(axis=0)
        metrics = {
            "accuracy": float(shares.mean()),
            "accuracy_ci": [0.0, 1.0],
            "total_samples": samples * problems,
        }
        found = compare_origins("train", summary(right, n), metrics, shares, 0.95)
        warnings += knows_train_part(found, 0.95)
    return warnings / repetitions


def test_several_answers_per_problem_keep_the_level_too():
    found = simulated_warnings(0.0, samples=5, repetitions=2000)
    assert 0.0 < found <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 2000)


def test_a_model_that_knows_the_train_part_is_found():
    assert simulated_warnings(0.5, samples=5, repetitions=200) > 0.9
