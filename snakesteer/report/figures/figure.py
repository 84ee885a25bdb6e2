"""A figure of the report: a chart, its words and its numbers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from snakesteer.records.files import atomic_path, write_text
from snakesteer.report.figures.style import CONFIG, MUTED, PADDING, PNG_SCALE, WIDTH

Chart = alt.Chart | alt.LayerChart | alt.VConcatChart


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        columns: Headings.
        rows: Cells; the first of each row is the row's name.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A figure, in every run the same ones; one that has nothing to show says why.

    Attributes:
        name: Of its files and its place on the page.
        title: Its heading.
        caption: What it shows, in words; where there is no chart, why not.
        alt: What is drawn and what it comes to, for who does not see it.
        columns: Headings of its table.
        rows: Cells of its table.
        chart: None where there is nothing to draw.
    """

    name: str
    title: str
    caption: str
    alt: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    chart: Chart | None = None

    @property
    def table(self) -> Table:
        """Its numbers."""
        return Table(self.title, self.columns, self.rows)

    def spec(self) -> dict[str, Any] | None:
        """The Vega-Lite specification, as wide as its container.

        None without a chart, and for panels: Vega-Lite cannot fit those to a container.
        """
        if self.chart is None or isinstance(self.chart, alt.VConcatChart):
            return None
        return self.chart.properties(width="container").configure(**CONFIG).to_dict()

    def svg(self) -> str:
        """The figure for a file; its caption, where there is no chart."""
        return _renumbered(vl_convert.vegalite_to_svg(self._for_file()))

    def png(self) -> bytes:
        """The figure for a file; its caption, where there is no chart."""
        return bytes(vl_convert.vegalite_to_png(self._for_file(), scale=PNG_SCALE))

    def _for_file(self) -> dict[str, Any]:
        chart = self.chart or _notice(self.caption)
        if not isinstance(chart, alt.VConcatChart):
            chart = chart.properties(width=WIDTH)
        return chart.properties(padding=PADDING).configure(**CONFIG).to_dict()


def write_figure(figure: Figure, folder: str | Path) -> None:
    """Write a figure as SVG and PNG, atomically."""
    write_text(Path(folder) / f"{figure.name}.svg", figure.svg())
    with atomic_path(Path(folder) / f"{figure.name}.png") as temporary:
        temporary.write_bytes(figure.png())


def dashed_line(scale: alt.Scale, **value: float) -> alt.Chart:
    """A dashed line at one value of an axis: ``dashed_line(scale, y=0.5)``.

    Args:
        scale: Of the other layers: without it, this one would bring 0 into the picture.
        value: Axis and value.
    """
    [(axis, at)] = value.items()
    channel = alt.X if axis == "x" else alt.Y
    return (
        alt.Chart(alt.Data(values=[{"at": at}]))
        .mark_rule(strokeDash=[5, 4], color=MUTED, strokeWidth=1.5)
        .encode(**{axis: channel("at:Q", scale=scale)})
    )


def layered(*layers: alt.Chart, height: int) -> alt.LayerChart:
    """Charts on top of each other, the first at the bottom."""
    return alt.LayerChart(layer=list(layers)).properties(height=height)


def listing(items: Iterable[tuple[str, str]]) -> str:
    """Names and values in one sentence."""
    return "; ".join(f"{name}: {value}" for name, value in items) + "."


def padded(values: Iterable[float], low: float, high: float) -> alt.Scale:
    """A scale that holds all values with some room, inside limits."""
    found = sorted(values)
    room = max(0.06 * (found[-1] - found[0]), 0.01 * (high - low))
    domain = [max(low, found[0] - room), min(high, found[-1] + room)]
    return alt.Scale(domain=domain, nice=False, zero=False)


def _renumbered(svg: str) -> str:
    """An SVG whose clip paths are numbered from 0: Vega counts on from figure to figure."""
    numbers: dict[str, int] = {}
    return re.sub(
        r'(?<=id="clip)\d+(?=")|(?<=url\(#clip)\d+(?=\))',
        lambda match: str(numbers.setdefault(match[0], len(numbers))),
        svg,
    )


def _notice(text: str) -> alt.Chart:
    """A sentence instead of a chart."""
    return (
        alt.Chart(alt.Data(values=[{"text": text}]))
        .mark_text(color=MUTED, limit=WIDTH)
        .encode(text="text:N")
        .properties(height=60)
    )
