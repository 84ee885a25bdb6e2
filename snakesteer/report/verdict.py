"""The verdict in plain words, never stronger than the numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from snakesteer.report.evidence import Arm, Evidence
from snakesteer.report.origins_text import origins_cautions
from snakesteer.report.wording import (
    configuration,
    gained_from,
    model_name,
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
    trained_on,
)


@dataclass(frozen=True)
class Verdict:
    """What comes first in a report.

    Attributes:
        tone: ``helps``, ``hurts`` or ``none``.
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
    tone, headline, text = _steered(evidence) if evidence.steered else _unsteered(evidence)
    return Verdict(tone, headline, text, tuple(_cautions(evidence)))


def _unsteered(evidence: Evidence) -> tuple[str, str, str]:
    unsteered = evidence.arms[0]
    n, confidence = evidence.test["num_test_samples"], evidence.test["confidence"]
    text = (
        f"The search tried {evidence.steered_trials} steered configurations of "
        f"{model_name(evidence.config['model'])}, and none earned its place: "
        f"{evidence.test['why'].rstrip('.')}. On the {n} test problems the unsteered model answers "
        f"{percent(unsteered.accuracy)} correctly ({confidence:.0%} interval "
        f"{percent_interval(unsteered.accuracy_ci)}); there is no steered run to set beside it. "
        f"{_choosable(evidence)}"
    ).strip()
    return "none", "Steering did not help: nothing tried clearly beat doing nothing", text


def _steered(evidence: Evidence) -> tuple[str, str, str]:
    unsteered, steered = evidence.arms[:2]
    assert steered.difference is not None
    assert steered.difference_ci is not None
    assert steered.p_value is not None
    n, confidence = evidence.test["num_test_samples"], evidence.test["confidence"]
    text = (
        f"Steered by {configuration(evidence.params)}, {model_name(evidence.config['model'])} "
        f"answers {percent(steered.accuracy)} of the {n} test problems correctly, without steering "
        f"{percent(unsteered.accuracy)}. The difference is {points(steered.difference)} "
        f"({confidence:.0%} interval {points_interval(steered.difference_ci)}); problems "
        f"gained: {steered.gained}, lost: {steered.lost} ({evidence.test['test']} test, "
        f"{p_value(steered.p_value)})"
        + (f"; {kinds}." if (kinds := gained_from(evidence.test)) else ".")
    )
    if taught := trained_on(evidence.config, evidence.params):
        text += f" The vector was {taught}, with the model's weights frozen."
    size = points(abs(steered.difference)).lstrip("+")
    match evidence.test["verdict"]:
        case "helps":
            return "helps", f"Steering helps: {size} more on the test problems", text
        case "hurts":
            return "hurts", f"Steering hurts: {size} fewer on the test problems", text
        case _:
            headline = f"Steering does not help detectably at n = {n}"
            return "none", headline, f"{text} {_detectable(evidence)}".strip()


def _choosable(evidence: Evidence) -> str:
    """The smallest lead on validation that the one-standard-error rule could have chosen."""
    accuracy, n = evidence.validation_accuracy, evidence.baseline["total_samples"]
    error = math.sqrt(accuracy * (1.0 - accuracy) / n)
    if not evidence.config["search"]["one_standard_error"] or error == 0.0:
        return ""
    return (
        f"With {n} validation problems one standard error at the unsteered {percent(accuracy)} is "
        f"{points(error).lstrip('+')}: smaller effects could not have been chosen."
    )


def _detectable(evidence: Evidence) -> str:
    """The smallest effect that such a test would have found."""
    effect = evidence.test.get("minimum_detectable_effect")
    if not isinstance(effect, float):
        return ""
    size = points(effect).lstrip("+")
    return (
        f"At this n the test finds an effect of {size} four times in five, smaller ones less often."
    )


def _cautions(evidence: Evidence) -> Iterator[str]:
    if evidence.test["verdict"] == "helps":
        alike = [arm.label for arm in evidence.arms[2:] if _as_good(arm, evidence.arms[1])]
        if alike:
            yield (
                "Controls that should not help do as well or better "
                f"({', '.join(alike)}): it may not be the direction that helps."
            )
    if evidence.steered:
        yield from evidence.chosen_warnings
    yield from origins_cautions(evidence)
    baseline = evidence.test["baseline_benchmark_metrics"]
    if baseline["invalid_rate"] > 0.2:
        yield (
            f"{percent(baseline['invalid_rate'])} of the unsteered answers hold no number. Check "
            "the prompt template before reading anything into a difference."
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
