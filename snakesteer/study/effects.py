"""The forest plot of a study: every group pooled, with its runs below it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from snakesteer.config.catalogue import METHODS
from snakesteer.report.figures.figure import Figure, listing, padded
from snakesteer.report.figures.forest import Estimate, forest
from snakesteer.report.figures.style import MUTED, VERDICT_COLOURS
from snakesteer.report.wording import count, p_number, signed
from snakesteer.study.groups import Group, GroupResult
from snakesteer.study.rows import RunRow
from snakesteer.study.words import confidences

_NOTHING = "No run has finished its final test: there is nothing to draw."


def effects_figure(groups: Sequence[Group]) -> Figure:
    """Differences of groups and runs from their unsteered models, in percentage points."""
    found = [(group, group.result) for group in groups if group.result is not None]
    if not found:
        return Figure(name="effects", title="Effects", caption=_NOTHING)
    estimates = [each for group, result in found for each in _estimates(group, result)]
    ends = [end for each in estimates for end in (each.low, each.high, *(each.wide or ()))]
    interval = f"{confidences(groups)} interval"
    return Figure(
        name="effects",
        title="Difference from the unsteered model",
        caption=(
            f"Change in accuracy on test problems, with {interval}s. A diamond is a group of "
            "replicates, pooled; the thin line around it is where one more run with other seeds "
            "would lie. A circle is one run. Blue helps, orange hurts, green is equivalent, grey "
            "inconclusive; colours follow the adjusted p-values."
        ),
        alt="Forest plot of differences in percentage points. "
        + listing((group.name, signed(100.0 * result.difference)) for group, result in found),
        columns=(
            *("Group or run", "Difference in points", interval, "One more run"),
            *("p", "p (Holm)", "Verdict"),
        ),
        rows=tuple(row for group, result in found for row in _rows(group, result)),
        chart=forest(
            estimates,
            title="Difference in points",
            axis_format="+.0f",
            tooltip_format="+.1f",
            line=0.0,
            scale=padded([0.0, *ends], -100.0, 100.0),
            label_width=170,
        ),
    )


def _estimates(group: Group, result: GroupResult) -> Iterator[Estimate]:
    if (spread := result.heterogeneity) is not None:
        yield replace(
            estimate_of(f"{group.name}\n{count(len(group.finished), 'run')} pooled", result),
            shape="diamond",
            wide=(100.0 * max(spread.low, -1.0), 100.0 * min(spread.high, 1.0)),
        )
    for run in group.finished:
        yield estimate_of(f"{run.run.name}\n{choice_words(run.row)}", run.row)


def estimate_of(label: str, found: RunRow | GroupResult) -> Estimate:
    """A difference with its interval, in percentage points and in the colour of its verdict."""
    return Estimate(
        label=label,
        value=100.0 * found.difference,
        low=100.0 * found.low,
        high=100.0 * found.high,
        colour=VERDICT_COLOURS.get(found.verdict, MUTED),
    )


def _rows(group: Group, result: GroupResult) -> Iterator[tuple[str, ...]]:
    if (spread := result.heterogeneity) is not None:
        yield (
            f"{group.name}, pooled",
            signed(100.0 * result.difference),
            interval_words(result.low, result.high),
            interval_words(spread.low, spread.high),
            *(p_number(result.p_value), p_number(result.p_holm), result.verdict),
        )
    for run in group.finished:
        row = run.row
        yield (
            run.run.name,
            signed(100.0 * row.difference),
            interval_words(row.low, row.high),
            "",
            *(p_number(row.p_value), p_number(row.p_holm), row.verdict),
        )


def choice_words(row: RunRow) -> str:
    """What a run tested, in short."""
    heads = METHODS[row.method].kind == "heads"
    place = "all layers" if heads else f"layer {row.layer}"
    return f"{row.method}, {place}, dose {row.steering_dose:.2g}"


def interval_words(low: float, high: float) -> str:
    """Ends of an interval in points."""
    return f"{signed(100.0 * low)} to {signed(100.0 * high)}"
