"""Pooled replicates: by hand, against statsmodels, at the edges, and how often intervals hold."""

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.stats.meta_analysis import combine_effects

from benchmarks.pooling import Setting, simulate
from snakesteer.study.pooling import pool, table_of_differences


def drawn(runs: int, problems: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=(runs, problems))


def apart(table: np.ndarray) -> np.ndarray:
    """The same runs, each on problems of its own."""
    runs, problems = table.shape
    wide = np.full((runs, runs * problems), np.nan)
    for run, row in enumerate(table):
        wide[run, run * problems : (run + 1) * problems] = row
    return wide


def test_by_hand():
    # Two runs of two problems each: effects 1 and 0, and no problem of one is one of the other.
    found = pool(apart(np.array([[1.0, 1.0], [1.0, -1.0]])), 0.95)
    # Sums of squares 0 and 2, one added to each: (1 + 3) / 2 / 2² a run.
    assert (found.effect, found.own, found.shared) == (0.5, 0.5, 0.0)
    # The runs' effects have the variance 0.5, no more than that.
    assert found.between == 0.0
    seen, alone = found.errors
    assert (seen.size, seen.df) == (pytest.approx(0.5), pytest.approx(1.0))
    assert (alone.size, alone.df) == (pytest.approx(0.5), pytest.approx(2.0))
    assert found.high - found.effect == pytest.approx(12.7062 * 0.5, rel=1e-4)
    assert found.prediction_high - found.effect == pytest.approx(12.7062 * 0.75**0.5, rel=1e-4)
    assert (found.q, found.i_squared) == (1.0, 0.0)


@pytest.mark.parametrize("method", ["dl", "pm"])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_it_is_the_random_effects_model_of_statsmodels_at_equal_variances(method, spread):
    table = drawn(5, 60, seed=3)
    table[:2] += spread
    found = pool(apart(table), 0.95)
    effects, variances = table.mean(axis=1), np.full(5, float(found.own))
    theirs = combine_effects(effects, variances, method_re=method, use_t=True)
    between = max(0.0, theirs.tau2)
    assert (between > 0.0) == (spread > 0.0)
    # Theirs stops at a tolerance where it iterates.
    assert found.between == pytest.approx(between, rel=1e-4, abs=1e-12)
    assert found.effect == pytest.approx(theirs.mean_effect_re)
    assert found.q == pytest.approx(theirs.q)
    assert found.q_p == pytest.approx(theirs.test_homogeneity().pvalue)
    assert found.i_squared == pytest.approx(max(0.0, theirs.i2))
    if spread:  # else runs agree too well, and theirs is narrower
        low, high = theirs.conf_int(use_t=True)[3]
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)


def test_what_runs_share_is_estimated_from_the_problems():
    # Every run answers the same problems and gains the same ones, with some of its own besides.
    rng = np.random.default_rng(1)
    common = rng.choice([0.0, 1.0], p=[0.8, 0.2], size=200)
    own = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=(6, 200)) * (common == 0)
    table = common + own
    found = pool(table, 0.95)
    covariances = np.cov(table)
    pairs = covariances[np.triu_indices(6, 1)].mean() / 200
    assert found.shared == pytest.approx(pairs, rel=0.05)
    assert found.own + found.shared == pytest.approx(np.diag(covariances).mean() / 200, rel=0.05)
    assert pool(apart(table), 0.95).shared == 0.0
    assert found.errors[1].size > pool(apart(table), 0.95).errors[1].size


def test_runs_that_are_one_run_know_no_more_than_it():
    row = drawn(1, 100, seed=2)
    found = pool(np.repeat(row, 5, axis=0), 0.95)
    error = float(np.sqrt(((row - row.mean()) ** 2).sum() + 1.0) / 100)
    for each in found.errors:
        assert (each.size, each.df) == (pytest.approx(error), pytest.approx(99.0))
    assert found.high == pytest.approx(row.mean() + t.ppf(0.975, 99) * error)
    assert found.between == found.q == found.i_squared == 0.0


def test_runs_in_which_nothing_changed_are_not_certain():
    together, alone = pool(np.zeros((3, 100)), 0.95), pool(apart(np.zeros((3, 100))), 0.95)
    # On the same problems: two halves of a changed problem among a hundred, however many runs.
    assert together.high == pytest.approx(t.ppf(0.975, 99) * 0.01)
    assert alone.high == pytest.approx(t.ppf(0.975, 297) * 0.01 / 3**0.5)
    assert together.low < 0.0 < together.high
    assert together.p_value == 1.0
    ten = pool(np.zeros((10, 100)), 0.95)
    assert ten.high == pytest.approx(float(together.high))


def test_runs_that_agree_too_well_are_held_to_their_sampling_errors():
    row = drawn(1, 100, seed=2)
    table = apart(np.repeat(row, 3, axis=0))  # the same effect on other problems, three times
    found = pool(table, 0.95)
    error = float(np.sqrt((((row - row.mean()) ** 2).sum() + 1.0) / 3) / 100)
    assert found.high - found.effect == pytest.approx(t.ppf(0.975, 297) * error)
    assert found.p_value == pytest.approx(2 * t.sf(row.mean() / error, 297))
    near = float(row.mean()) + 2 * error
    assert found.equivalence(near) == pytest.approx(t.sf(2.0, 297))
    wide = found.prediction_high - found.effect
    assert wide == pytest.approx(t.ppf(0.975, 297) * error * 2)  # 1 + 1/3 for 1/3


def test_equivalence_is_two_one_sided_tests():
    found = pool(drawn(4, 400, seed=5) * (np.arange(400) < 40), 0.95)
    tests = []
    for error in found.errors:
        tests.append(t.sf((found.effect + 0.1) / error.size, error.df))
        tests.append(t.cdf((found.effect - 0.1) / error.size, error.df))
    assert found.equivalence(0.1) == pytest.approx(max(tests))
    assert found.equivalence(abs(float(found.effect))) == pytest.approx(0.5)


def test_many_groups_at_once_are_what_they_are_one_by_one():
    tables = np.stack([drawn(3, 40, seed) for seed in range(4)])
    tables[:, 0, :10] = np.nan
    together = pool(tables, 0.9)
    for at, table in enumerate(tables):
        alone = pool(table, 0.9)
        for name in ("effect", "low", "high", "prediction_low", "p_value", "between", "shared"):
            assert getattr(together, name)[at] == pytest.approx(float(getattr(alone, name)))


def test_a_table_has_a_column_for_every_problem():
    table = table_of_differences([{"a": 1.0, "b": 0.0}, {"b": -1.0, "c": 0.5}])
    assert table[:, 1].tolist() == [0.0, -1.0]
    assert np.isnan(table).tolist() == [[False, False, True], [True, False, False]]


def test_one_run_or_a_run_without_problems_is_no_group():
    with pytest.raises(ValueError, match="two runs or more"):
        pool(np.zeros((1, 10)), 0.95)
    with pytest.raises(ValueError, match="problems in each"):
        pool(np.array([[0.0, 1.0], [np.nan, np.nan]]), 0.95)


# docs/statistics.md has the whole table, of benchmarks/pooling.py.
SETTINGS = [
    Setting("independent", 3, 0.08),
    Setting("the same", 5, 0.0),
    Setting("the same", 5, 0.08),
    Setting("half shared", 5, 0.03),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.draw}, {s.runs}, {s.spread}")
def test_coverage(setting):
    found = simulate(setting, 800, seed=1)
    error = 3 * (0.05 * 0.95 / 800) ** 0.5
    assert found.mean >= 0.93 - error
    assert found.effect >= 0.93 - error
    assert found.measured >= 0.93 - error
    if setting.draw == "the same" and setting.spread == 0.0:
        # Runs that err together, taken for independent ones, claim far too much.
        assert found.naive < 0.9
