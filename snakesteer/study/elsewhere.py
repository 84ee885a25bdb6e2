"""What the steering of each run costs elsewhere, side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snakesteer.report.figures.figure import Table
from snakesteer.report.wording import percent, points, signed


@dataclass(frozen=True)
class Elsewhere:
    """Off-target numbers of a run, with the ends of their intervals.

    None is a number that there is not: of no second task, of no right answer, or not finite.

    Attributes:
        neutral_kl: KL(unsteered ‖ steered) on neutral text, nats per token.
        neutral_kl_low: Of its interval.
        neutral_kl_high: Of its interval.
        perplexity_ratio: Steered perplexity of neutral text by the unsteered one.
        perplexity_ratio_low: Of its interval.
        perplexity_ratio_high: Of its interval.
        length_change: Of test answers, in tokens.
        length_change_low: Of its interval.
        length_change_high: Of its interval.
        reworded: Share of the right test answers that read differently.
        reworded_low: Of its interval.
        reworded_high: Of its interval.
        right_lost: Share of the right test answers that became wrong.
        right_lost_low: Of its interval.
        right_lost_high: Of its interval.
        second_task: Change in accuracy on the second task.
        second_task_low: Of its interval.
        second_task_high: Of its interval.
    """

    neutral_kl: float | None = None
    neutral_kl_low: float | None = None
    neutral_kl_high: float | None = None
    perplexity_ratio: float | None = None
    perplexity_ratio_low: float | None = None
    perplexity_ratio_high: float | None = None
    length_change: float | None = None
    length_change_low: float | None = None
    length_change_high: float | None = None
    reworded: float | None = None
    reworded_low: float | None = None
    reworded_high: float | None = None
    right_lost: float | None = None
    right_lost_low: float | None = None
    right_lost_high: float | None = None
    second_task: float | None = None
    second_task_low: float | None = None
    second_task_high: float | None = None


NOTHING = Elsewhere()


def elsewhere_of(final: Mapping[str, Any]) -> Elsewhere:
    """What a run's test_final.json says of it; nothing where the run did without.

    Args:
        final: Its content.
    """
    record = final.get("off_target")
    if record is None:
        return NOTHING
    neutral, answers, task = record["neutral"], record["test_answers"], record["second_task"]
    second = {"estimate": task["difference"], "ci": task["difference_ci"]} if task else None
    return Elsewhere(
        **_estimate("neutral_kl", neutral["kl"]),
        **_estimate("perplexity_ratio", neutral["perplexity_ratio"]),
        **_estimate("length_change", answers["length_change"]),
        **_estimate("reworded", answers["reworded"]),
        **_estimate("right_lost", answers["lost"]),
        **_estimate("second_task", second),
    )


def _estimate(name: str, found: Mapping[str, Any] | None) -> dict[str, float | None]:
    if found is None or found["ci"] is None:
        return {}
    low, high = found["ci"]
    return {name: found["estimate"], f"{name}_low": low, f"{name}_high": high}


# Name → heading, and what a number looks like.
_SHOWN: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "neutral_kl": ("KL, nats per token", lambda value: f"{value:.3g}"),
    "perplexity_ratio": ("Perplexity, times", lambda value: f"{value:.3g}"),
    "length_change": ("Longer answers, tokens", signed),
    "reworded": ("Right answers reworded", percent),
    "right_lost": ("Right answers lost", percent),
    "second_task": ("Second task", points),
}


def elsewhere_table(groups: Mapping[str, Sequence[Elsewhere]]) -> Table:
    """What steering costs elsewhere, one row a group.

    Of one run, a number with its interval; of several, their mean, and from the lowest to the
    highest end of their intervals.

    Args:
        groups: What each group's finished runs cost; those without a record are left out.
    """
    found = {
        name: [one for one in runs if one != NOTHING]
        for name, runs in groups.items()
        if any(one != NOTHING for one in runs)
    }
    names = [
        name
        for name in _SHOWN
        if any(getattr(one, name) is not None for runs in found.values() for one in runs)
    ]
    return Table(
        "What steering does elsewhere",
        ("Group", "Runs", *(_SHOWN[name][0] for name in names)),
        tuple(
            (group, str(len(runs)), *(_cell(runs, name) for name in names))
            for group, runs in found.items()
        ),
    )


def _cell(runs: Sequence[Elsewhere], name: str) -> str:
    words = _SHOWN[name][1]
    ends = [
        tuple(getattr(one, key) for key in (name, f"{name}_low", f"{name}_high")) for one in runs
    ]
    there = [each for each in ends if each[0] is not None and each[1] is not None]
    if not there:
        return ""
    middle, low, high = zip(*there, strict=True)
    text = f"{words(sum(middle) / len(middle))} ({words(min(low))} to {words(max(high))})"
    return text if len(there) == len(runs) else f"{text}, of {len(there)}"
