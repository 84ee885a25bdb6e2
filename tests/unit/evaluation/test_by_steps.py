"""Accuracies by the number of steps, against groups made by hand."""

import pytest

from snakesteer.data.problem import Problem
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.by_steps import by_steps


def problem(number, steps):
    lines = [f"So {n} + 1 = <<{n}+1={n + 1}>>{n + 1}." for n in range(steps)]
    return Problem(f"p{number}", "How many?", "\n".join([*lines, "#### 1"]), "1")


def answers(correct):
    return [
        Answer(f"p{i}", right, False, right, "1" if right else None, "1", "eos", 5, 2)
        for i, right in enumerate(correct)
    ]


def groups_of(counts):
    """Names and sizes where so many problems have so many steps; every second one is gained."""
    problems = [problem(0, steps) for steps, count in counts.items() for _ in range(count)]
    after = [n % 2 == 0 for n in range(len(problems))]
    found = by_steps(problems, [answers([False] * len(problems))], [answers(after)])
    return {group["steps"]: group["n"] for group in found}


def test_each_group_has_its_own_accuracies():
    steps = [1] * 12 + [2] * 10 + [0] * 3
    before = [True] * 6 + [False] * 6 + [False] * 10 + [True] * 3
    after = [False] * 2 + [True] * 4 + [True] * 3 + [False] * 3 + [True] * 10 + [False] * 3
    problems = [problem(n, each) for n, each in enumerate(steps)]
    one, two = by_steps(problems, [answers(before)], [answers(after)])
    assert (one["steps"], one["n"], one["gained"], one["lost"]) == ("1", 12, 3, 2)
    assert one["baseline_accuracy"] == 0.5
    assert one["steered_accuracy"] == pytest.approx(7 / 12)
    assert two == {
        "steps": "2",
        "n": 10,
        "baseline_accuracy": 0.0,
        "steered_accuracy": 1.0,
        "gained": 10,
        "lost": 0,
    }


def test_many_steps_are_one_group():
    counts = {1: 10, 2: 11, 3: 12, 4: 13, 5: 6, 6: 5, 8: 3}
    assert groups_of(counts) == {"1": 10, "2": 11, "3": 12, "4": 13, "5 or more": 14}


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ({1: 4, 2: 7, 3: 20}, {"1 to 2": 11, "3": 20}),
        ({1: 12, 2: 30, 3: 9}, {"1": 12, "2 to 3": 39}),
        ({1: 12, 2: 30, 3: 4, 7: 5}, {"1": 12, "2 or more": 39}),
        ({1: 10, 2: 4, 3: 4, 4: 2, 5: 10}, {"1": 10, "2 to 4": 10, "5 or more": 10}),
        ({2: 3, 4: 4}, {"2 to 4": 7}),
        ({6: 3}, {"5 or more": 3}),
        ({0: 20}, {}),
    ],
)
def test_small_groups_join_their_neighbours(counts, groups):
    assert groups_of(counts) == groups


def test_several_samples_are_shares_of_right_answers():
    problems = [problem(n, 1) for n in range(10)]
    before = [answers([False] * 10), answers([True] * 10)]
    after = [answers([True] * 5 + [False] * 5), answers([True] * 9 + [False])]
    [group] = by_steps(problems, before, after)
    assert (group["baseline_accuracy"], group["steered_accuracy"]) == (0.5, 0.7)
    assert (group["gained"], group["lost"]) == (5, 1)
