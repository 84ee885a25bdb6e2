"""The tables of a study's page."""

from collections.abc import Sequence

from snakesteer.report.figures.figure import Table
from snakesteer.report.wording import count, p_number, percent, signed
from snakesteer.study.costs import total
from snakesteer.study.effects import interval_words
from snakesteer.study.groups import Group, GroupResult
from snakesteer.study.runs import FailedRun
from snakesteer.study.stability import Share
from snakesteer.study.words import confidences, duration


def groups_table(groups: Sequence[Group]) -> Table:
    """What every group found, and what was claimed where something was."""
    claims = any(group.predicts for group in groups)
    return Table(
        "What every group found",
        (
            *("Group", "Verdict", "Difference", f"{confidences(groups)} interval", "p (Holm)"),
            *(("Predicted", "That is") if claims else ()),
            *("Runs", "Model", "Unsteered", "Steered", "p"),
        ),
        tuple(
            (
                group.name,
                *(_found(group.result) if group.result else ("no result", "", "", "")),
                *((group.predicts, group.agreement or "") if claims else ()),
                *(_runs(group), group.model),
                *(_more(group.result) if group.result else ("", "", "")),
            )
            for group in groups
        ),
    )


def _runs(group: Group) -> str:
    if not group.failed:
        return str(len(group.finished))
    return f"{len(group.finished)} of {len(group.finished) + len(group.failed)}"


def _found(result: GroupResult) -> tuple[str, ...]:
    difference = signed(100.0 * result.difference)
    interval = interval_words(result.low, result.high)
    return result.verdict, difference, interval, p_number(result.p_holm)


def _more(result: GroupResult) -> tuple[str, ...]:
    return percent(result.baseline), percent(result.steered), p_number(result.p_value)


def spread_table(groups: Sequence[Group]) -> Table:
    """How replicates differ."""
    return Table(
        "How replicates differ",
        (
            *("Group", "One more run", "Between runs", "Within a run", "Shared", "I²", "Q (p)"),
            *("Test problems", "In all", "Seeds"),
        ),
        tuple(
            (
                group.name,
                interval_words(spread.low, spread.high),
                *(f"{100.0 * part**0.5:.1f}" for part in (spread.between, spread.own)),
                f"{100.0 * spread.shared**0.5:.1f}",
                *(f"{spread.i_squared:.0%}", f"{spread.q:.1f} ({p_number(spread.q_p)})"),
                *(_range(*map(str, result.n)), str(result.problems)),
                ", ".join(result.seeds) or "none",
            )
            for group in groups
            if (result := group.result) and (spread := result.heterogeneity)
        ),
    )


def choices_table(groups: Sequence[Group]) -> Table:
    """What the runs of each group chose, and how far they agree."""
    return Table(
        "What the runs chose",
        (
            *("Group", "Method", "Direction", "Layer", "Dose", "α", "Steer"),
            "Cosine",
        ),
        tuple(
            (
                group.name,
                *(_share(each, stable.runs) for each in (stable.method, stable.direction)),
                _share(stable.layer, stable.runs),
                *(_range(*map(_strength, ends)) for ends in (stable.dose, stable.alpha)),
                f"{stable.steer} of {stable.runs}",
                _cosines(stable.cosines),
            )
            for group in groups
            if (result := group.result) and (stable := result.stability)
        ),
    )


def _share(share: Share, runs: int) -> str:
    return share.value if runs == 1 else f"{share.value} ({share.count} of {runs})"


def _strength(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _cosines(found: Sequence[float]) -> str:
    if not found:
        return ""
    mean = signed(sum(found) / len(found), 2)
    return mean if len(found) == 1 else f"{mean} (lowest {signed(min(found), 2)})"


def costs_table(groups: Sequence[Group]) -> Table:
    """What the runs of each group took, failed ones included, and all together.

    What several runs share counts once in every line.
    """
    costs = {
        group.name: [run.cost for run in group.finished] + [run.cost for run in group.failed]
        for group in groups
    }
    if len(groups) > 1:
        costs["All"] = [cost for each in costs.values() for cost in each]
    return Table(
        "What it cost",
        ("Group", "Runs", "Time on the device", "New tokens", "Device"),
        tuple(
            (
                *(name, str(len(found)), duration(total(found).seconds)),
                f"{total(found).new_tokens:,}",
                total(found).device,
            )
            for name, found in costs.items()
        ),
    )


def failures_table(failed: Sequence[FailedRun]) -> Table:
    """Runs without a result, with the last that is known of them."""
    return Table(
        f"{count(len(failed), 'run')} without a result",
        ("Run", "Group", "Status", "How far it came", "Log", "Its last line"),
        tuple(
            (
                *(each.run.name, each.run.group, each.status, each.words.stage),
                *(each.words.log or "no log", each.words.words or "nothing"),
            )
            for each in failed
        ),
    )
