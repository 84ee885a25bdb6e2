"""The chosen configuration, its controls, and no steering, compared in pairs."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from statsmodels.stats.multitest import multipletests

from snakesteer.config import EvaluationConfig
from snakesteer.evaluation.control_kinds import FAMILIES, ControlKind
from snakesteer.evaluation.controls import Control
from snakesteer.evaluation.paired import Samples, compare_paired
from snakesteer.evaluation.statistics import Interval, verdict

logger = logging.getLogger(__name__)


def controls_record(
    baseline: Samples,
    steered: Samples,
    controls: Sequence[Control],
    answers: Sequence[Samples],
    evaluation: EvaluationConfig,
) -> dict[str, Any]:
    """The content of controls.json, without the run.

    Every control is compared with the unsteered answers, and the chosen configuration with every
    control (``against_chosen``: chosen − control). Each of these two sets of tests is adjusted for
    the number of controls (``p_holm``; Holm 1979, "A Simple Sequentially Rejective Multiple Test
    Procedure"), and verdicts follow from that. ``families`` asks of random directions and of
    shuffled labels how often they do as well as the chosen one.

    Args:
        baseline: Unsteered test answers, ``[samples][problems]``.
        steered: Those of the chosen configuration.
        controls: The controls.
        answers: Their answers.
        evaluation: Confidence, resamples, seed, margin.
    """
    chosen = _entry("chosen", "the chosen configuration", "steered", baseline, steered, evaluation)
    entries = [
        _entry(control.name, control.label, control.kind, baseline, given, evaluation)
        for control, given in zip(controls, answers, strict=True)
    ]
    _adjust(entries, evaluation.confidence)
    against = [_difference(compare_paired(given, steered, evaluation)) for given in answers]
    _adjust(against, evaluation.confidence)
    accuracies = {
        kind: [entry["accuracy"] for entry in entries if entry["kind"] == kind] for kind in FAMILIES
    }
    return {
        "chosen": chosen,
        "controls": [
            {**entry, "against_chosen": found}
            for entry, found in zip(entries, against, strict=True)
        ],
        "families": {
            kind: family_of(found, chosen["accuracy"])
            for kind, found in accuracies.items()
            if found
        },
    }


def family_of(accuracies: Sequence[float], chosen: float) -> dict[str, Any]:
    """Where the chosen configuration lies among controls of one kind.

    ``p_value`` is that of a permutation test: were the chosen vector one more draw of that kind,
    each place among them would be equally likely (Davison and Hinkley 1997, "Bootstrap Methods and
    Their Application", ch. 4). It cannot be below ``smallest_p``.

    Args:
        accuracies: Of the controls, at least one.
        chosen: Of the chosen configuration.
    """
    count = len(accuracies)
    as_good = sum(accuracy >= chosen for accuracy in accuracies)
    return {
        "mean": float(np.mean(accuracies)),
        "best": max(accuracies),
        "worst": min(accuracies),
        "below_chosen": count - as_good,
        "count": count,
        "p_value": (1 + as_good) / (1 + count),
        "smallest_p": 1 / (1 + count),
    }


def _adjust(entries: Sequence[dict[str, Any]], confidence: float) -> None:
    """Give tests their adjusted p-values, and the verdicts that follow."""
    adjusted = multipletests([e["mcnemar"]["p_value"] for e in entries], method="holm")[1]
    for entry, p_value in zip(entries, adjusted, strict=True):
        difference = Interval(entry["difference"], *entry["difference_ci"])
        entry["p_holm"] = float(p_value)
        entry["verdict"] = verdict(
            difference, entry["p_holm"], entry["equivalence"]["p_value"], confidence
        )


def _difference(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `compare_paired` says of a difference."""
    return {
        "difference": found["accuracy_improvement"],
        "difference_ci": found["accuracy_improvement_ci"],
        **{name: found[name] for name in ("mcnemar", "test", "equivalence", "verdict")},
    }


def _entry(
    name: str,
    label: str,
    kind: ControlKind,
    baseline: Samples,
    answers: Samples,
    evaluation: EvaluationConfig,
) -> dict[str, Any]:
    found = compare_paired(baseline, answers, evaluation)
    metrics = found["steered_benchmark_metrics"]
    rates = ("invalid_rate", "truncated_rate", "mean_new_tokens", "repetition_rate")
    return {
        "name": name,
        "label": label,
        "kind": kind,
        "accuracy": metrics["accuracy"],
        "accuracy_ci": metrics["accuracy_ci"],
        **_difference(found),
        **{rate: metrics[rate] for rate in rates},
    }


def log_controls(record: Mapping[str, Any]) -> None:
    """Say in words where the chosen configuration lies among its controls."""
    for name, family in record["families"].items():
        logger.info(
            "steered %.1f%%, above %d of %d %s (%.1f%% to %.1f%%, mean %.1f%%): p = %.2g",
            100 * record["chosen"]["accuracy"],
            family["below_chosen"],
            family["count"],
            FAMILIES[name],
            100 * family["worst"],
            100 * family["best"],
            100 * family["mean"],
            family["p_value"],
        )
    for entry in (record["chosen"], *record["controls"]):
        logger.info(
            "%s: %+.1f points, %s", entry["label"], 100 * entry["difference"], entry["verdict"]
        )
