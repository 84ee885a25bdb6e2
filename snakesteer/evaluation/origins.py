"""Whether the unsteered model is better on problems of the train part than on others.

Validation and test are different problems, so that this comparison is the one that is not paired. A
model that was trained on the source's train part may know its problems by heart; a search on them
optimises something else than what the test split measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import fisher_exact
from statsmodels.stats.proportion import confint_proportions_2indep

from snakesteer.evaluation.statistics import Outcomes, wilson


@dataclass(frozen=True)
class Counts:
    """Right answers among independent ones.

    Attributes:
        right: How many are right; not whole where several answers per problem count as fewer.
        n: How many there are, likewise.
    """

    right: float
    n: float

    @property
    def table_row(self) -> tuple[int, int]:
        """Right and wrong ones, rounded."""
        right, n = round(self.right), round(self.n)
        return right, n - right


def effective_counts(shares: Outcomes, answers: int) -> Counts:
    """As how many independent answers several answers per problem count.

    Answers to one problem are alike, so that they say less than as many answers to as many
    problems. Their number is divided by the design effect, the variance of the accuracy over
    problems in units of the variance that independent answers would have (Rao & Scott 1992, "A
    Simple Method for the Analysis of Clustered Binary Data"). It stays between the number of
    problems and the number of answers; where all answers are right, or none is, nothing tells how
    alike they are, and they count once per problem.

    Args:
        shares: Share of right answers per problem.
        answers: Number of all answers; with one per problem, counts are exact.
    """
    outcomes = np.asarray(shares, dtype=float)  # [problems]
    problems, accuracy = len(outcomes), float(outcomes.mean())
    n = float(problems)
    if answers > problems and 0.0 < accuracy < 1.0:
        spread = float(outcomes.var())
        alone = problems * accuracy * (1.0 - accuracy) / spread if spread else float(answers)
        n = min(max(alone, n), float(answers))
    return Counts(accuracy * n, n)


def compare_counts(
    one: Counts, other: Counts, confidence: float
) -> tuple[tuple[float, float], float]:
    """Newcombe's interval and Fisher's exact test of the difference of two unpaired accuracies.

    The interval is made of Wilson's two (Newcombe 1998, "Interval Estimation for the Difference
    between Independent Proportions", method 10); the test is conditional on the number of right
    answers (Fisher 1935, "The Design of Experiments"), which keeps its level at every n.

    Args:
        one: Of the first.
        other: Of the second.
        confidence: Of the interval, in (0, 1).

    Returns:
        Low and high of ``one − other``, and the two-sided p-value.
    """
    low, high = confint_proportions_2indep(
        one.right, one.n, other.right, other.n, method="newcomb", alpha=1.0 - confidence
    )
    p_value = float(fisher_exact([one.table_row, other.table_row]).pvalue)
    return (float(low), float(high)), p_value


def compare_origins(
    validation_from: Literal["train", "test"],
    validation: Mapping[str, Any],
    test: Mapping[str, Any],
    shares: Outcomes,
    confidence: float,
) -> dict[str, Any]:
    """The unsteered accuracy on validation and on test problems, by the part that they are from.

    Args:
        validation_from: `data.validation_from`.
        validation: baseline/val.json, the summary of one answer per validation problem.
        test: Summary of the unsteered answers to the test split, with ``accuracy_ci``.
        shares: Share of right ones among them, per problem.
        confidence: Of the intervals.

    Returns:
        ``validation`` and ``test``, each with ``from``, ``n`` problems, ``accuracy`` and ``ci``;
        and ``difference`` (validation − test), ``difference_ci`` and ``p_value``. These three are
        None where both are from the test part, as there is nothing to compare then.
    """
    right, n = int(validation["correct"]), int(validation["total_samples"])
    found: dict[str, Any] = {
        "validation": {
            "from": validation_from,
            "n": n,
            "accuracy": validation["accuracy"],
            "ci": list(wilson(right, n, confidence)),
        },
        "test": {
            "from": "test",
            "n": len(shares),
            "accuracy": test["accuracy"],
            "ci": test["accuracy_ci"],
        },
        "difference": None,
        "difference_ci": None,
        "p_value": None,
    }
    if validation_from == "train":
        interval, p_value = compare_counts(
            Counts(right, n), effective_counts(shares, int(test["total_samples"])), confidence
        )
        found["difference"] = validation["accuracy"] - test["accuracy"]
        found["difference_ci"] = list(interval)
        found["p_value"] = p_value
    return found


def knows_train_part(origins: Mapping[str, Any], confidence: float) -> bool:
    """Whether the model is better on problems of the train part than chance explains.

    Args:
        origins: Result of `compare_origins`.
        confidence: 1 − the level of the test. Without a difference this is wrong in less than half
            as many runs, as the test is two-sided and only one side counts.
    """
    if origins["p_value"] is None:
        return False
    return origins["difference"] > 0.0 and 1.0 - origins["p_value"] > confidence
