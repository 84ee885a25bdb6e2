"""The verdict of a study in plain words, never stronger than the numbers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from snakesteer.report.wording import count, p_value, percent, points, points_interval
from snakesteer.study.groups import Group, GroupResult

_SAID = {
    "helps": "helps in {}",
    "hurts": "hurts in {}",
    "equivalent": "changes nothing that matters in {}",
    "inconclusive": "is left open in {}",
}


@dataclass(frozen=True)
class StudyVerdict:
    """What comes first on the page of a study.

    Attributes:
        tone: The verdict in one word; ``inconclusive`` where groups say different things.
        headline: One line.
        text: Sentences.
        cautions: What a reader should know before believing it.
    """

    tone: str
    headline: str
    text: str
    cautions: tuple[str, ...]


def study_verdict(groups: Sequence[Group], elsewhere: int) -> StudyVerdict:
    """The verdict of a study.

    Args:
        groups: All of them.
        elsewhere: Configurations that its test splits were read for besides those of its runs.
    """
    found = [(group, group.result) for group in groups if group.result is not None]
    cautions = tuple(_cautions(groups, elsewhere))
    if not found:
        return StudyVerdict("inconclusive", "No run has finished yet", "", cautions)
    if len(groups) == 1:
        [(group, result)] = found
        text = " ".join(_of_one(group, result))
        return StudyVerdict(result.verdict, _headline(group, result), text, cautions)
    said = Counter(result.verdict for _, result in found)
    effects = {word for word in ("helps", "hurts") if said[word]}
    tone = effects.pop() if len(effects) == 1 else "inconclusive"
    parts = [words.format(said[word]) for word, words in _SAID.items() if said[word]]
    headline = f"Of {count(len(groups), 'group')}, steering {in_a_row(parts)}"
    return StudyVerdict(tone, headline, " ".join(_of_many(groups)), cautions)


def _headline(group: Group, result: GroupResult) -> str:
    size = points(abs(result.difference)).lstrip("+")
    runs = len(group.finished)
    over = f"on average over {count(runs, 'run')}" if runs > 1 else "in one run"
    return {
        "helps": f"Steering helps: {size} more {over}",
        "hurts": f"Steering hurts: {size} fewer {over}",
        "equivalent": f"Steering changes nothing that matters: less than "
        f"{points(result.margin).lstrip('+')} {over}",
        "inconclusive": "Inconclusive: the data leave room for "
        f"{points_interval((result.low, result.high))} {over}",
    }[result.verdict]


def _of_one(group: Group, result: GroupResult) -> Iterator[str]:
    runs = len(group.finished)
    where = f"on average over {count(runs, 'run')}" if runs > 1 else "in one run"
    yield (
        f"Steered, {group.model} answers {percent(result.steered)} of its test problems correctly "
        f"{where}, without steering {percent(result.baseline)}. The difference is "
        f"{points(result.difference)} ({result.confidence:.0%} interval "
        f"{points_interval((result.low, result.high))}, {p_value(result.p_value)})."
    )
    if result.heterogeneity is not None:
        ends = (result.heterogeneity.low, result.heterogeneity.high)
        yield f"One more run with other seeds is expected within {points_interval(ends)}."
    if group.agreement is not None:
        yield f"Predicted: {group.predicts.rstrip('.')}; found: {result.verdict}."


def _of_many(groups: Sequence[Group]) -> Iterator[str]:
    yield (
        "Each group is one question: its runs are the same in everything but seeds, and are "
        "pooled. Differences are in percentage points; verdicts follow p-values that are adjusted "
        "over the groups (Holm 1979)."
    )
    told = Counter(group.agreement for group in groups if group.agreement is not None)
    if told:
        parts = [f"{number} {words}" for words, number in told.items()]
        yield f"Of {count(told.total(), 'claim')}: {in_a_row(parts)}."


def _cautions(groups: Sequence[Group], elsewhere: int) -> Iterator[str]:
    runs = sum(len(group.finished) + len(group.failed) for group in groups)
    if failed := sum(len(group.failed) for group in groups):
        yield (
            f"{failed} of {count(runs, 'run')} {'has' if failed == 1 else 'have'} no result, and "
            f"{'is' if failed == 1 else 'are'} in none of these numbers."
        )
    alone = [group.name for group in groups if len(group.finished) == 1]
    if alone:
        yield (
            f"One run says nothing of what other seeds would have found ({_some(alone)}): its "
            "interval speaks of other test problems alone."
        )
    for group in groups:
        if group.result is not None:
            yield from _of_group(group, group.result)
    if elsewhere:
        yield (
            "The test splits of this study have been read for "
            f"{count(elsewhere, 'configuration')} that none of its runs shows. The runs' p-values "
            "are adjusted for them, those of groups are not."
        )


def _of_group(group: Group, result: GroupResult) -> Iterator[str]:
    spread, stable = result.heterogeneity, result.stability
    if spread and not result.seeds:
        yield (
            f"{group.name}: no seed differs between its runs. They are one run, repeated, and say "
            "nothing of what other seeds would have found."
        )
    if result.verdict in ("helps", "hurts") and spread and spread.low < 0.0 < spread.high:
        yield (
            f"{group.name}: that it {result.verdict} is a statement on the average. One more run "
            f"may find anything from {points_interval((spread.low, spread.high))}."
        )
    if result.verdict == "helps" and stable.steer < stable.runs:
        yield (
            f"{group.name}: validation recommends steering in {stable.steer} of "
            f"{count(stable.runs, 'run')}; without the test split one would have left the others "
            "alone."
        )


def confidences(groups: Sequence[Group]) -> str:
    """The confidence of all intervals; of several, each."""
    found = dict.fromkeys(f"{group.result.confidence:.0%}" for group in groups if group.result)
    return " or ".join(found)


def in_a_row(parts: Sequence[str]) -> str:
    """One, two and three."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def duration(seconds: float) -> str:
    """83.2 → 83 s; 5000 → 1 h 23 min."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _some(names: Sequence[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"
