"""What replicates say together: their mean effect, how much they differ, what one more would find.

Random effects: every run has an effect of its own, drawn around a mean, and measures it on its test
problems. Replicates differ in seeds alone, so that all have the same sampling variance but for
chance, and all have the same weight here. Inverse variances would be no better weights: where few
answers change, variance and effect go together, and a run in which none does would outweigh all
others. With equal variances the estimators of the between-run variance by DerSimonian & Laird
(1986, Controlled Clinical Trials 7), Paule & Mandel (1982) and REML are the same number, and the
variance of the mean is that of Hartung & Knapp (2001, Statistics in Medicine 20): that of the
runs' effects over their number. Runs that agree better than their sampling errors allow do so by
chance, so that it is held against what those errors alone would give, and what claims less is taken
(Jackson et al. 2017, Statistics in Medicine 36).

Runs that answered the same problems err together, which no comparison of them can show. How much is
estimated from the problems that they share, and added to the variance of the mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, t

Floats = NDArray[np.float64]

# Added to a run's sum of squares: half a gained and half a lost problem (Agresti & Min 2005,
# Statistics in Medicine 24), so that a run in which nothing changed is not certain.
_HALVES = 1.0
_LEAST = 1e-12  # a variance that is none


@dataclass(frozen=True, eq=False)
class StandardError:
    """Of a mean over runs, as an estimate for other runs on other problems.

    Attributes:
        size: As a fraction.
        df: Its degrees of freedom (Satterthwaite 1946).
    """

    size: Floats
    df: Floats

    def half(self, confidence: float) -> Floats:
        """Half the width of a t-interval."""
        return np.asarray(self.size * t.ppf(0.5 + confidence / 2.0, self.df))

    def beyond(self, distance: Floats) -> Floats:
        """The chance of an error larger than a distance, on one side."""
        return np.asarray(t.sf(distance / self.size, self.df))


@dataclass(frozen=True, eq=False)
class Pooled:
    """Replicates together; every number may be an array over groups of the same shape.

    Attributes:
        runs: How many they are.
        effect: Mean difference, steered − unsteered, as a fraction.
        errors: Standard errors of the mean: as the runs' effects scatter, and as their sampling
            errors alone would let them.
        low: Where the confidence interval of the mean begins.
        high: Where it ends.
        prediction_low: Where the interval for one more run begins.
        prediction_high: Where it ends.
        p_value: Of no effect on average, two-sided.
        between: Variance of the effects of runs (τ²).
        own: Sampling variance of a run, without what all share.
        shared: Sampling covariance of two runs: of the problems that both answered.
        q: Cochran's Q.
        q_p: The p-value of equal effects.
        i_squared: Share of the differences between runs that is no sampling error.
    """

    runs: int
    effect: Floats
    errors: tuple[StandardError, StandardError]
    low: Floats
    high: Floats
    prediction_low: Floats
    prediction_high: Floats
    p_value: Floats
    between: Floats
    own: Floats
    shared: Floats
    q: Floats
    q_p: Floats
    i_squared: Floats

    def equivalence(self, margin: float) -> Floats:
        """The p-value of an effect within a margin: two one-sided t-tests (Schuirmann 1987)."""
        return _larger(error.beyond(margin - np.abs(self.effect)) for error in self.errors)


def pool(differences: Floats, confidence: float) -> Pooled:
    """Pool replicates.

    Args:
        differences: Steered − unsteered outcome of each problem in each run, −1 to 1,
            ``[..., runs, problems]``; NaN where a run did not answer a problem. At least two runs.
        confidence: Of the intervals, in (0, 1).

    Raises:
        ValueError: There is but one run, or a run without problems.
    """
    runs = differences.shape[-2]
    asked = ~np.isnan(differences)
    counts = asked.sum(axis=-1, keepdims=True)  # [..., runs, 1]
    if runs < 2 or (counts == 0).any():
        raise ValueError("pooling takes two runs or more, and problems in each of them")
    effects = np.where(asked, differences, 0.0).sum(axis=-1) / counts[..., 0]  # [..., runs]
    rest = np.where(asked, differences - effects[..., None], 0.0)
    n = counts.mean(axis=(-2, -1))
    total = ((rest**2).sum(axis=-1) + _HALVES) / counts[..., 0] ** 2
    together = _pairs(rest / counts) + _HALVES * _pairs(asked / counts) / n
    shared = np.maximum(together, 0.0)
    own = np.maximum(total.mean(axis=-1) - shared, _LEAST)
    seen = effects.var(axis=-1, ddof=1)
    effect = effects.mean(axis=-1)

    def errors(times: float) -> tuple[StandardError, StandardError]:
        of_problems = np.maximum(n - 1.0, 1.0)
        return (
            _error(times * seen, runs - 1, shared, of_problems),
            _error(times * own, runs * of_problems, shared, of_problems),
        )

    of_mean = errors(1.0 / runs)
    half = _larger(error.half(confidence) for error in of_mean)
    wide = _larger(error.half(confidence) for error in errors(1.0 + 1.0 / runs))
    between = np.maximum(seen - own, 0.0)
    q = (runs - 1) * seen / own
    return Pooled(
        runs=runs,
        effect=effect,
        errors=of_mean,
        low=effect - half,
        high=effect + half,
        prediction_low=effect - wide,
        prediction_high=effect + wide,
        p_value=2.0 * _larger(error.beyond(np.abs(effect)) for error in of_mean),
        between=between,
        own=own,
        shared=shared,
        q=q,
        q_p=chi2.sf(q, runs - 1),
        i_squared=between / (between + own),
    )


def table_of_differences(runs: Sequence[Mapping[str, float]]) -> Floats:
    """Differences by problem as `pool` takes them, ``[runs, problems]``.

    Args:
        runs: Of each run the difference of every problem that it answered, by its text.
    """
    place = {
        problem: at for at, problem in enumerate(dict.fromkeys(p for run in runs for p in run))
    }
    table = np.full((len(runs), len(place)), np.nan)
    for row, run in zip(table, runs, strict=True):
        row[[place[problem] for problem in run]] = list(run.values())
    return table


def _pairs(values: Floats) -> Floats:
    """Sum over problems of the product of two runs' values, mean over all pairs of runs."""
    runs = values.shape[-2]
    squares = (values.sum(axis=-2) ** 2).sum(axis=-1) - (values**2).sum(axis=(-2, -1))
    return np.asarray(squares / (runs * (runs - 1)))


def _error(own: Floats, own_df: Floats | int, shared: Floats, shared_df: Floats) -> StandardError:
    """The error of a sum of two parts, each with its own degrees of freedom."""
    own = np.maximum(own, _LEAST)
    variance = own + shared
    df = variance**2 / (own**2 / own_df + shared**2 / shared_df)
    return StandardError(np.sqrt(variance), df)


def _larger(both: Iterable[Floats]) -> Floats:
    return np.asarray(np.maximum(*both))
