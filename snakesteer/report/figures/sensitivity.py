"""The sensitivity grid: accuracy over strength, and the signs of a model that steering breaks."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from snakesteer.evaluation.strengths import in_words
from snakesteer.report.figures.figure import Figure, padded
from snakesteer.report.figures.style import SERIES, WIDTH
from snakesteer.report.wording import percent, percent_interval, signed

# Key in sensitivity.csv, title, format of the axis, height in pixels.
MEASURES = (
    ("accuracy", "Accuracy", ".0%", 200),
    ("invalid_rate", "No number", ".0%", 80),
    ("truncated_rate", "Cut off", ".0%", 80),
    ("repetition_rate", "Repetitive", ".0%", 80),
    ("mean_new_tokens", "Tokens", ".0f", 80),
)
AXIS_ROOM = 60  # pixels


def sensitivity_figure(rows: Sequence[Mapping[str, Any]], confidence: float) -> Figure:
    """A column of panels for each method and direction, a line for each layer.

    Args:
        rows: Of sensitivity.csv.
        confidence: Of the intervals of accuracy.
    """
    words = in_words(rows)
    return Figure(
        name="sensitivity",
        title="What strength does to the answers",
        caption=(
            "Answers to the validation split on a grid of doses. Bands are "
            f"{confidence:.0%} Wilson intervals of accuracy. Where answers hold no final number, "
            "are cut off at the length limit, repeat themselves or change in length, steering "
            f"breaks the model. {words}"
        ),
        alt="Accuracy, shares of answers without a number, cut off and repeating themselves, and "
        f"mean length in tokens against dose. {words}",
        columns=(
            *("Configuration", "Layer", "Dose", "α", "Accuracy", f"{confidence:.0%} interval"),
            *("No number", "Cut off", "Repetitive", "Mean tokens"),
        ),
        rows=tuple(
            (
                _name(row),
                str(row["layer"]),
                signed(row["dose"], 3),
                signed(row["alpha"], 3),
                percent(row["accuracy"]),
                percent_interval((row["low"], row["high"])),
                *(percent(row[f"{rate}_rate"]) for rate in ("invalid", "truncated", "repetition")),
                f"{row['mean_new_tokens']:.1f}",
            )
            for row in rows
        ),
        chart=_panels(rows),
    )


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['method']} / {row['direction']}"


def _highest_rate(rows: Sequence[Mapping[str, Any]]) -> float:
    rates = [key for key, *_ in MEASURES if key.endswith("_rate")]
    return max(0.1, *(row[key] for row in rows for key in rates))


def _panels(rows: Sequence[Mapping[str, Any]]) -> alt.VConcatChart:
    names = list(dict.fromkeys(map(_name, rows)))
    layers = sorted({row["layer"] for row in rows})
    colours = (
        alt.Scale(domain=layers, range=SERIES[: len(layers)])
        if len(layers) <= len(SERIES)
        else alt.Scale(domain=layers, scheme="viridis")
    )
    lines = []
    for key, title, number, height in MEASURES:
        if key == "accuracy":
            scale = padded((row[each] for row in rows for each in ("low", "high")), 0.0, 1.0)
        else:
            # A rate of one or two percent shall look as small as it is.
            top = max(row[key] for row in rows) if number == ".0f" else _highest_rate(rows)
            scale = alt.Scale(domain=[0.0, 1.05 * top], nice=False)
        panels = []
        for column, name in enumerate(names):
            base = alt.Chart(
                alt.Data(values=[dict(row) for row in rows if _name(row) == name])
            ).encode(
                x=alt.X(
                    "dose:Q",
                    title="Dose (mean residual norms)" if key == MEASURES[-1][0] else None,
                    axis=alt.Axis(tickCount=4, format="~"),
                    scale=alt.Scale(nice=False, padding=6),
                ),
                color=alt.Color(
                    "layer:O",
                    scale=colours,
                    legend=alt.Legend(title="Layer", columns=10) if key == "accuracy" else None,
                ),
            )
            y = alt.Y(
                f"{key}:Q",
                title=title if column == 0 else None,
                axis=alt.Axis(format=number, tickCount=height // 35, minExtent=AXIS_ROOM - 15),
                scale=scale,
            )
            marks = [base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=25)).encode(y=y)]
            if key == "accuracy":
                band = alt.Y("low:Q", scale=scale, title=title if column == 0 else None)
                marks.insert(0, base.mark_area(opacity=0.1).encode(y=band, y2="high:Q"))
            heading = alt.TitleParams(name, anchor="start", fontWeight="normal", fontSize=13)
            panels.append(
                alt.LayerChart(layer=marks).properties(
                    width=max(120, WIDTH // len(names) - AXIS_ROOM),
                    height=height,
                    **({"title": heading} if key == "accuracy" else {}),
                )
            )
        lines.append(alt.hconcat(*panels, spacing=14))
    return alt.vconcat(*lines, spacing=8)
