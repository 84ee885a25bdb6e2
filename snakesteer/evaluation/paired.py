"""Steered against unsteered answers to the same problems, in numbers and in words.

Answers come as ``answers[sample][problem]``; there is one sample unless `evaluation.samples` asks
for more.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snakesteer.config import EvaluationConfig
from snakesteer.evaluation.answers import Answer, accuracy, summary
from snakesteer.evaluation.equivalence import equivalence_p
from snakesteer.evaluation.power import minimum_detectable_effect
from snakesteer.evaluation.statistics import (
    McNemar,
    bootstrap_mean,
    changed,
    mcnemar_exact,
    paired_bootstrap,
    sign_flip,
    verdict,
    wilson,
)

Samples = Sequence[Sequence[Answer]]


def compare_paired(
    baseline: Samples, steered: Samples, evaluation: EvaluationConfig
) -> dict[str, Any]:
    """Paired comparison of two evaluations of the same problems.

    With several samples, a problem's outcome is its share of right answers, the intervals come from
    resampled problems (answers to one problem are not independent), a sign-flip permutation test
    stands in McNemar's place, and ``seeds`` says how much accuracy varies from sample to sample.

    Args:
        baseline: Unsteered answers, ``[samples][problems]``.
        steered: Steered answers of the same shape.
        evaluation: Confidence, resamples, seed.

    Returns:
        Both summaries with intervals, the difference with its paired bootstrap interval, the test,
        that of equivalence, the smallest effect that was to be expected to be found (from
        the number of problems and `evaluation.planned_changes`, not from what was seen; for several
        answers each it is an upper bound), and the verdict. ``gained_from`` says what
        stood in place of gained answers, ``lost_to`` what stands in place of lost ones, and
        ``changed_answers`` how many texts are others.
    """
    before, after = outcomes(baseline), outcomes(steered)
    n, confidence = len(before), evaluation.confidence
    interval = paired_bootstrap(
        before, after, evaluation.bootstrap_resamples, confidence, evaluation.seed
    )
    if len(baseline) == 1:
        test = mcnemar_exact(before, after)
        name = "exact McNemar"
    else:
        p_value = sign_flip(before, after, evaluation.bootstrap_resamples, evaluation.seed)
        test = McNemar(*changed(before, after), p_value)
        name = "sign-flip permutation"
    equivalence = equivalence_p(before, after, evaluation.margin)
    return {
        "baseline_benchmark_metrics": _metrics(baseline, evaluation),
        "steered_benchmark_metrics": _metrics(steered, evaluation),
        "accuracy_improvement": interval.estimate,
        "accuracy_improvement_ci": [interval.low, interval.high],
        "confidence": confidence,
        "mcnemar": asdict(test),
        "gained_from": _wrong_answers(steered, baseline),
        "lost_to": _wrong_answers(baseline, steered),
        "changed_answers": sum(
            one.text != other.text
            for ones, others in zip(baseline, steered, strict=True)
            for one, other in zip(ones, others, strict=True)
        ),
        "test": name,
        "equivalence": {"margin": evaluation.margin, "p_value": equivalence},
        "minimum_detectable_effect": minimum_detectable_effect(
            n, evaluation.planned_changes, confidence
        ),
        "verdict": verdict(interval, test.p_value, equivalence, confidence),
        **({} if len(baseline) == 1 else {"seeds": _seeds(baseline, steered)}),
    }


def outcomes(answers: Samples) -> NDArray[np.float64]:
    """Share of right answers per problem, ``[problems]``; 0 or 1 for one sample."""
    return np.mean([[answer.correct for answer in sample] for sample in answers], axis=0)


def _metrics(answers: Samples, evaluation: EvaluationConfig) -> dict[str, Any]:
    """The summary of all answers, with an interval of the accuracy."""
    found = summary([answer for sample in answers for answer in sample])
    if len(answers) == 1:
        low, high = wilson(
            int(found["correct"]), int(found["total_samples"]), evaluation.confidence
        )
    else:
        interval = bootstrap_mean(
            outcomes(answers),
            evaluation.bootstrap_resamples,
            evaluation.confidence,
            evaluation.seed,
        )
        low, high = interval.low, interval.high
    return {
        **found,
        "accuracy_ci": [low, high],
        "evaluation_method": "numeric match of the final answer",
    }


def _wrong_answers(right: Samples, wrong: Samples) -> dict[str, int]:
    """What answers that only ``right`` has right are like in ``wrong``, counted."""
    found = {"wrong_number": 0, "no_number": 0}
    for ones, others in zip(right, wrong, strict=True):
        for one, other in zip(ones, others, strict=True):
            if one.correct and not other.correct:
                found["no_number" if other.extracted is None else "wrong_number"] += 1
    return found


def _seeds(baseline: Samples, steered: Samples) -> dict[str, Any]:
    """Accuracies per sample, each with random streams of its own, and their standard deviation."""
    before, after = ([accuracy(sample) for sample in run] for run in (baseline, steered))
    difference = [b - a for a, b in zip(before, after, strict=True)]
    found: dict[str, Any] = {"samples": len(before)}
    for name, values in (("baseline", before), ("steered", after), ("difference", difference)):
        found[name] = values
        found[f"{name}_sd"] = float(np.std(values, ddof=1))
    return found
