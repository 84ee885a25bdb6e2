"""The comparison of two runs, against arrays made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from snakesteer.config import EvaluationConfig
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.paired import compare_paired, outcomes
from snakesteer.evaluation.power import mcnemar_power
from snakesteer.evaluation.statistics import sign_flip

EVALUATION = EvaluationConfig(bootstrap_resamples=2000)


def answers(correct):
    return [
        Answer(f"p{i}", right, False, right, "1" if right else None, "1", "eos", 5, 2)
        for i, right in enumerate(correct)
    ]


def test_one_answer_per_problem():
    # Of 20 problems both solve 5, steering gains 9 and loses 1, 5 stay unsolved.
    before = [True] * 6 + [False] * 14
    after = [True] * 5 + [False] + [True] * 9 + [False] * 5
    found = compare_paired([answers(before)], [answers(after)], EVALUATION)
    assert found["baseline_benchmark_metrics"]["accuracy"] == 0.3
    assert found["steered_benchmark_metrics"]["correct"] == 14
    assert found["accuracy_improvement"] == pytest.approx(0.4)
    assert found["mcnemar"]["gained"] == sum(found["gained_from"].values()) == 9
    assert found["mcnemar"]["lost"] == sum(found["lost_to"].values()) == 1
    p_value = 2 * sum(math.comb(10, k) for k in (0, 1)) / 2**10
    assert found["mcnemar"]["p_value"] == pytest.approx(p_value)
    assert found["test"] == "exact McNemar"
    differences = np.array(after, float) - np.array(before, float)
    error = differences.std() / math.sqrt(20)
    low, high = found["accuracy_improvement_ci"]
    assert low == pytest.approx(0.4 - 1.96 * error, abs=0.06)
    assert high == pytest.approx(0.4 + 1.96 * error, abs=0.06)
    low, high = found["baseline_benchmark_metrics"]["accuracy_ci"]
    assert (round(low, 3), round(high, 3)) == (0.145, 0.519)  # Wilson, 6 of 20
    least = found["minimum_detectable_effect"]
    assert mcnemar_power(20, least, max(0.1, least), 0.95) == pytest.approx(0.8, abs=1e-3)
    assert found["equivalence"] == {"margin": 0.02, "p_value": pytest.approx(1.0, abs=1e-3)}
    assert found["verdict"] == "helps"
    assert "seeds" not in found
    assert compare_paired([answers(after)], [answers(before)], EVALUATION)["verdict"] == "hurts"


def test_several_answers_per_problem():
    rng = np.random.default_rng(0)
    chance = rng.random(40)
    before = rng.random((3, 40)) < 0.5 * chance
    after = rng.random((3, 40)) < 0.5 * chance + 0.4
    runs = [[answers(map(bool, sample)) for sample in run] for run in (before, after)]
    found = compare_paired(*runs, EVALUATION)
    assert found["test"] == "sign-flip permutation"
    seeds = found["seeds"]
    assert seeds["samples"] == 3
    assert seeds["baseline"] == pytest.approx(before.mean(axis=1))
    assert seeds["steered_sd"] == pytest.approx(after.mean(axis=1).std(ddof=1))
    per_sample = after.mean(axis=1) - before.mean(axis=1)
    assert seeds["difference"] == pytest.approx(per_sample)
    assert seeds["difference_sd"] == pytest.approx(per_sample.std(ddof=1))
    difference = after.mean(axis=0) - before.mean(axis=0)  # one per problem
    assert found["accuracy_improvement"] == pytest.approx(difference.mean())
    half = 1.96 * difference.std() / math.sqrt(40)
    low, high = found["accuracy_improvement_ci"]
    assert (low, high) == pytest.approx(
        (difference.mean() - half, difference.mean() + half), abs=0.02
    )
    assert found["mcnemar"]["gained"] == (difference > 0).sum()
    assert found["mcnemar"]["lost"] == (difference < 0).sum()
    p_value = sign_flip(outcomes(runs[0]), outcomes(runs[1]), 2000, EVALUATION.seed)
    assert found["mcnemar"]["p_value"] == p_value < 0.01
    assert found["verdict"] == "helps"
    # It does not depend on what was seen.
    once = compare_paired(runs[0][:1], runs[1][:1], EVALUATION)
    assert found["minimum_detectable_effect"] == once["minimum_detectable_effect"]
    metrics = found["steered_benchmark_metrics"]
    assert metrics["total_samples"] == 120
    assert metrics["accuracy"] == pytest.approx(after.mean())
    # Problems scatter more than 120 independent answers would.
    low, high = metrics["accuracy_ci"]
    scatter = after.mean(axis=0).std() / math.sqrt(40)
    assert high - low == pytest.approx(2 * 1.96 * scatter, rel=0.1)


def test_the_same_answers_again_prove_nothing():
    run = [answers([True, False, True])] * 4
    found = compare_paired(run, run, EVALUATION)
    assert found["verdict"] == "inconclusive"
    assert found["mcnemar"] == {"gained": 0, "lost": 0, "p_value": 1.0}
    assert found["changed_answers"] == 0
    other = [[replace(run[0][0], text="4, as always"), *run[0][1:]], *run[1:]]
    assert compare_paired(run, other, EVALUATION)["changed_answers"] == 1
    assert found["minimum_detectable_effect"] is None
    assert found["seeds"]["difference_sd"] == 0.0
