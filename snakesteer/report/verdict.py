"""The verdict in plain words, never stronger than the numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from snakesteer.evaluation.control_kinds import FAMILIES
from snakesteer.report.evidence import Arm, Evidence
from snakesteer.report.origins_text import origins_cautions
from snakesteer.report.reads import reads_cautions
from snakesteer.report.wording import (
    changes_found,
    configuration,
    count,
    gained_from,
    left_open,
    model_name,
    p_value,
    percent,
    points,
    points_interval,
    recommended,
    trained_on,
    unchanged_words,
)


@dataclass(frozen=True)
class Verdict:
    """What comes first in a report.

    Attributes:
        tone: The verdict in one word.
        headline: One line.
        text: A paragraph with the numbers behind it.
        cautions: What a reader should know before believing it.
    """

    tone: str
    headline: str
    text: str
    cautions: tuple[str, ...]


def read_verdict(evidence: Evidence) -> Verdict:
    """The verdict of a run."""
    said = evidence.test["verdict"]
    headline = {
        "helps": f"Steering helps: {_size(evidence)} more on the test problems",
        "hurts": f"Steering hurts: {_size(evidence)} fewer on the test problems",
        "equivalent": f"Steering changes nothing that matters: less than {_margin(evidence)}",
        "inconclusive": f"Inconclusive: {left_open(evidence.test)}",
    }[said]
    return Verdict(said, headline, _text(evidence), tuple(_cautions(evidence)))


def _text(evidence: Evidence) -> str:
    unsteered, steered = evidence.arms[:2]
    assert steered.difference is not None
    assert steered.difference_ci is not None
    assert steered.p_value is not None
    test = evidence.test
    n, confidence = test["num_test_samples"], test["confidence"]
    sentences = [
        f"Steered by {configuration(evidence.params)}, {model_name(evidence.config['model'])} "
        f"answers {percent(steered.accuracy)} of the {count(n, 'test problem')} correctly, "
        f"without steering {percent(unsteered.accuracy)}. The difference is "
        f"{points(steered.difference)} ({confidence:.0%} interval "
        f"{points_interval(steered.difference_ci)}); problems gained: {steered.gained}, lost: "
        f"{steered.lost} ({test['test']} test, {p_value(steered.p_value)})"
        + (f"; {kinds}." if (kinds := gained_from(test)) else ".")
    ]
    if taught := trained_on(evidence.config, evidence.params):
        sentences.append(f"The vector was {taught}, with the model's weights frozen.")
    if test["verdict"] == "equivalent":
        sentences.append(
            f"Differences of {_margin(evidence)} or more in either direction are rejected "
            f"({p_value(test['equivalence']['p_value'])})."
        )
    if test["verdict"] == "inconclusive":
        sentences.append(
            "The data show neither an effect nor that it is smaller than "
            f"{_margin(evidence)} in either direction."
        )
        low, high = steered.difference_ci
        margin = test["equivalence"]["margin"]
        if low > 0.0 or high < 0.0 or -margin < low <= high < margin:
            sentences.append("The interval alone would say more, but the tests do not confirm it.")
        sentences += _planned(evidence)
    sentences.append(recommended(test))
    return " ".join(sentences)


def _size(evidence: Evidence) -> str:
    return points(abs(evidence.test["accuracy_improvement"])).lstrip("+")


def _margin(evidence: Evidence) -> str:
    """The difference that does not matter."""
    return points(evidence.test["equivalence"]["margin"]).lstrip("+")


def _planned(evidence: Evidence) -> Iterator[str]:
    """The smallest effect that the test was to be expected to find."""
    effect = evidence.test["minimum_detectable_effect"]
    if effect is not None:
        rate, how = changes_found(effect, evidence.config["evaluation"]["planned_changes"])
        yield (
            f"Where {percent(rate)} of the answers to {evidence.test['num_test_samples']} problems "
            f"change{how}, the test finds an effect of {points(effect).lstrip('+')} four times in "
            "five, smaller ones less often."
        )


def _cautions(evidence: Evidence) -> Iterator[str]:
    if evidence.test["verdict"] == "helps":
        if evidence.test["recommendation"] != "steer":
            yield (
                "The validation split did not recommend steering: it helps on test with a "
                "configuration that the search had not told from luck."
            )
        alike = [arm.label for arm in evidence.arms[2:] if _as_good(arm, evidence.arms[1])]
        if alike:
            yield (
                "Controls that should not help do as well or better "
                f"({', '.join(alike)}): it may not be the direction that helps."
            )
        level = 1.0 - evidence.test["confidence"]
        fewest = math.ceil(1.0 / level - 1e-9) - 1  # whose smallest p is the level
        for kind, family in evidence.controls["families"].items():
            if family["count"] < fewest:
                yield (
                    f"{family['count']} {FAMILIES[kind]} show {p_value(family['smallest_p'])} at "
                    f"best, even if the tested vector beats all of them; {fewest} could show "
                    f"{p_value(level)} (evaluation.{kind}_controls)."
                )
    if unchanged := unchanged_words(evidence.test):
        yield unchanged
    yield from evidence.chosen_warnings
    yield from reads_cautions(evidence)
    yield from origins_cautions(evidence)
    baseline = evidence.test["baseline_benchmark_metrics"]
    if baseline["invalid_rate"] > 0.2:
        yield (
            f"{percent(baseline['invalid_rate'])} of the unsteered answers hold no final number. "
            "Check the prompt template before reading anything into a difference."
        )
    if baseline["truncated_rate"] > 0.2:
        yield (
            f"{percent(baseline['truncated_rate'])} of the unsteered answers hit the length limit. "
            "Raise generation.max_new_tokens."
        )
    if baseline["correct"] == 0:
        yield "The unsteered model answers nothing right, so steering had nothing to lose."
    if baseline["correct"] == baseline["total_samples"]:
        yield "The unsteered model answers everything right, so steering had nothing to gain."


def _as_good(control: Arm, steered: Arm) -> bool:
    return control.kind in ("random", "shuffled", "negative") and (
        control.accuracy >= steered.accuracy
    )
