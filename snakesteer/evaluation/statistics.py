"""How certain an accuracy is, and whether steering changed it.

Both runs answer the same problems, so every comparison is paired: what counts is on which problems
they differ. Where each problem is answered several times, its outcome is the share of right
answers; problems, not answers, are then what is resampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap, permutation_test

# One number per problem: whether its answer is right, or the share of its answers that are.
Outcomes = Sequence[float] | NDArray[np.float64]

Judgement = Literal["helps", "hurts", "equivalent", "inconclusive"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, all as fractions (0.04 is four points)."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test.

    Attributes:
        gained: Problems that only the steered run answered correctly.
        lost: Problems that only the baseline answered correctly.
        p_value: Two-sided, in [0, 1].
    """

    gained: int
    lost: int
    p_value: float


def wilson(correct: int, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of an accuracy (Wilson 1927).

    Unlike the normal approximation it stays within [0, 1] and has a width at 0 % and 100 %.

    Args:
        correct: Correct answers.
        n: Problems, at least 1.
        confidence: Of the interval, in (0, 1).

    Raises:
        ValueError: ``correct`` is not between 0 and ``n``, or there are no problems.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n} problems is not an accuracy")
    interval = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def paired_bootstrap(
    baseline: Outcomes,
    steered: Outcomes,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """Bootstrap interval of the accuracy difference, steered − baseline, over resampled problems.

    Percentile method (Efron & Tibshirani 1993, ch. 13). BCa corrects for skew, of which a mean of
    values in {−1, 0, 1} has little. In simulations with 100 to 1000 problems and 5–30 % of the
    answers changed, 95 % intervals held the truth in 94–97 % of the runs; with two or three of 50
    changed in 85–98 % (BCa 83 %).

    If the difference is the same on every problem (no answer changed, say), so is every resample,
    and the interval has no width: read it together with McNemar's test.

    Args:
        baseline: Per problem, whether the unsteered answer is correct (or the share that is).
        steered: The same for the steered answer, in the same order.
        resamples: Number of resamples.
        confidence: Of the interval, in (0, 1).
        seed: Of the resampling.

    Raises:
        ValueError: The lengths differ or there are no problems.
    """
    return bootstrap_mean(differences_of(baseline, steered), resamples, confidence, seed)


def bootstrap_mean(values: Outcomes, resamples: int, confidence: float, seed: int) -> Interval:
    """Percentile bootstrap interval of a mean over problems.

    Args:
        values: One per problem, at least one.
        resamples: Number of resamples.
        confidence: Of the interval, in (0, 1).
        seed: Of the resampling.
    """
    values = np.asarray(values, dtype=float)  # [problems]
    estimate = float(values.mean())
    if (values == values[0]).all():
        return Interval(estimate, estimate, estimate)
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=1000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(estimate, float(interval.low), float(interval.high))


def mcnemar_exact(baseline: Outcomes, steered: Outcomes) -> McNemar:
    """McNemar's exact test of whether steering changes accuracy (McNemar 1947).

    If it does not, a problem whose outcome changed is as likely gained as lost: a binomial test of
    one half on the changed problems.

    Args:
        baseline: Per problem, whether the unsteered answer is correct.
        steered: The same for the steered answer, in the same order.

    Raises:
        ValueError: The lengths differ or there are no problems.
    """
    gained, lost = changed(baseline, steered)
    p_value = float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
    return McNemar(gained, lost, p_value)


def changed(baseline: Outcomes, steered: Outcomes) -> tuple[int, int]:
    """Problems answered better with steering, and problems answered worse.

    Args:
        baseline: Per problem, the outcome of the unsteered run.
        steered: The same for the steered run, in the same order.

    Raises:
        ValueError: The lengths differ or there are no problems.
    """
    difference = differences_of(baseline, steered)
    return int((difference > 0).sum()), int((difference < 0).sum())


def sign_flip(baseline: Outcomes, steered: Outcomes, resamples: int, seed: int) -> float:
    """Two-sided permutation test of whether steering changes accuracy, for several answers each.

    If it does not, a problem's two shares of right answers could as well be swapped, which flips
    the sign of their difference (Fisher 1935, "The Design of Experiments", ch. 3). Exact where all
    sign patterns are fewer than the resamples, else a random draw of them that counts the observed
    one, so that the false-positive rate is not exceeded. With one answer each it is McNemar's test.

    Args:
        baseline: Per problem, the share of right unsteered answers.
        steered: The same for the steered answers, in the same order.
        resamples: Number of sign patterns.
        seed: Of their draw.

    Returns:
        The p-value, in (0, 1].

    Raises:
        ValueError: The lengths differ or there are no problems.
    """
    difference = differences_of(baseline, steered)
    if len(difference) == 1 or not difference.any():
        return 1.0
    return float(
        permutation_test(
            (difference,),
            np.mean,
            permutation_type="samples",
            n_resamples=resamples,
            batch=1000,
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def verdict(interval: Interval, p_value: float, equivalence: float, confidence: float) -> Judgement:
    """What the numbers allow one to say, in one word.

    An effect is only claimed if the bootstrap interval leaves out 0 *and* the test rejects at the
    same level. The exact test keeps the false-positive rate below 1 − confidence for any n; the
    bootstrap alone does not where few answers changed. A detected effect within the margin is
    still an effect.

    Args:
        interval: Of the accuracy difference, steered − baseline.
        p_value: Of McNemar's test, or of `sign_flip`.
        equivalence: Of `snakesteer.evaluation.equivalence.equivalence_p`.
        confidence: Of the interval; 1 − confidence is the level of both tests.
    """
    if 1.0 - p_value > confidence:
        if interval.low > 0.0:
            return "helps"
        if interval.high < 0.0:
            return "hurts"
    return "equivalent" if 1.0 - equivalence > confidence else "inconclusive"


def differences_of(baseline: Outcomes, steered: Outcomes) -> NDArray[np.float64]:
    """Steered − baseline per problem, 1 (gained) to −1 (lost), float64 ``[problems]``.

    Raises:
        ValueError: The lengths differ or there are no problems.
    """
    if len(baseline) != len(steered) or len(baseline) == 0:
        raise ValueError(
            f"the runs must answer the same problems, at least one: {len(baseline)} baseline and "
            f"{len(steered)} steered outcomes"
        )
    return np.asarray(steered, dtype=float) - np.asarray(baseline, dtype=float)


def finite_or_none(value: float) -> float | None:
    """A number for a record, in which None stands for what is not finite."""
    return value if np.isfinite(value) else None
