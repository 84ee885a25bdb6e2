"""Forest plots: a row for each estimate, a dot on its interval, a dashed line to compare with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import altair as alt

from snakesteer.report.figures.figure import dashed_line, layered
from snakesteer.report.figures.style import BLUE

_ROW = 36  # pixels
_DOT, _LARGE = 95, 190  # square pixels


@dataclass(frozen=True)
class Estimate:
    """A row of a forest plot.

    Attributes:
        label: Its name, unlike that of every other row; a line break begins a second line.
        value: The dot.
        low: Where its interval begins.
        high: Where its interval ends.
        colour: Of dot and interval.
        shape: Of the dot.
        wide: Ends of a second, thin interval that holds the first, around a larger dot; None
            without one.
    """

    label: str
    value: float
    low: float
    high: float
    colour: str = BLUE
    shape: Literal["circle", "diamond"] = "circle"
    wide: tuple[float, float] | None = None


def forest(
    estimates: Sequence[Estimate],
    *,
    title: str,
    axis_format: str,
    tooltip_format: str,
    line: float,
    scale: alt.Scale,
    label_width: int = 150,
) -> alt.LayerChart:
    """A forest plot.

    Args:
        estimates: Its rows, from the top.
        title: Of the axis.
        axis_format: Of the axis' numbers, in d3's notation.
        tooltip_format: Of the numbers that a pointer shows.
        line: Where the dashed line is.
        scale: Of the axis, from `padded`.
        label_width: Room for the names, in pixels.
    """
    values = [
        {
            "label": each.label,
            "value": each.value,
            "low": each.low,
            "high": each.high,
            "colour": each.colour,
            "shape": each.shape,
            **({"from": each.wide[0], "to": each.wide[1]} if each.wide else {}),
            "size": _LARGE if each.wide else _DOT,
        }
        for each in estimates
    ]
    axis = alt.Axis(format=axis_format, tickCount=6, grid=True)
    names = alt.Axis(
        labelLimit=label_width,
        labelExpr="split(datum.label, '\\n')",
        grid=False,
        labelFontSize=13,
    )
    base = alt.Chart(alt.Data(values=values)).encode(
        y=alt.Y("label:N", title=None, sort=[each.label for each in estimates], axis=names),
        color=alt.Color("colour:N", scale=None),
        tooltip=[
            alt.Tooltip("label:N", title="Row"),
            alt.Tooltip("value:Q", title=title, format=tooltip_format),
            alt.Tooltip("low:Q", title="From", format=tooltip_format),
            alt.Tooltip("high:Q", title="To", format=tooltip_format),
        ],
    )
    intervals = base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(
        x=alt.X("low:Q", title=title, axis=axis, scale=scale), x2="high:Q"
    )
    thin = base.mark_rule(strokeWidth=1).encode(x=alt.X("from:Q", scale=scale), x2="to:Q")
    dots = base.mark_point(filled=True, opacity=1).encode(
        x=alt.X("value:Q", scale=scale),
        shape=alt.Shape("shape:N", legend=None, scale=None),
        size=alt.Size("size:Q", legend=None, scale=None),
    )
    line_there = dashed_line(scale, x=line)
    # A row without a thin interval has no ends for it, and none is drawn.
    below = [line_there, thin] if any(each.wide for each in estimates) else [line_there]
    return layered(*below, intervals, dots, height=_ROW * len(estimates))
