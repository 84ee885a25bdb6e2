"""Where steering changes answers: on easy problems or on hard ones, by steps of the solution."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from snakesteer.data.problem import Problem, solution_steps
from snakesteer.evaluation.paired import Samples, outcomes
from snakesteer.evaluation.statistics import changed

MOST_STEPS = 5  # problems with more steps are one group with these
SMALLEST = 10  # problems of a group


def by_steps(
    problems: Sequence[Problem], baseline: Samples, steered: Samples
) -> list[dict[str, Any]]:
    """Both accuracies, and what was gained and lost, for problems of one number of steps each.

    The groups follow from the gold solutions alone. They describe: none of them is tested.

    Args:
        problems: The problems.
        baseline: Unsteered answers, ``[samples][problems]``.
        steered: Steered answers of the same shape.

    Returns:
        A record a group, the fewest ``steps`` first (``"1"``, ``"2 to 3"``, ``"5 or more"``), with
        ``n`` problems. Those whose solution shows no step are in none.
    """
    steps = np.array([min(solution_steps(problem), MOST_STEPS) for problem in problems])
    before, after = outcomes(baseline), outcomes(steered)
    found = []
    for group in _groups(steps.tolist()):
        chosen = np.isin(steps, group)
        gained, lost = changed(before[chosen], after[chosen])
        found.append(
            {
                "steps": _name(group[0], group[-1]),
                "n": int(chosen.sum()),
                "baseline_accuracy": float(before[chosen].mean()),
                "steered_accuracy": float(after[chosen].mean()),
                "gained": gained,
                "lost": lost,
            }
        )
    return found


def _groups(steps: Sequence[int]) -> list[list[int]]:
    """Numbers of steps, those together whose problems are too few to stand alone.

    A group that is too small takes in the next harder one; the hardest goes to the one before.
    """

    def small(group: Sequence[int]) -> bool:
        return sum(map(steps.count, group)) < SMALLEST

    groups: list[list[int]] = []
    for each in sorted(set(steps) - {0}):
        if not groups or not small(groups[-1]):
            groups.append([])
        groups[-1].append(each)
    if len(groups) > 1 and small(groups[-1]):
        hardest = groups.pop()
        groups[-1] += hardest
    return groups


def _name(low: int, high: int) -> str:
    if high == MOST_STEPS:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"
