"""Steering strength: accuracy by dose, and by layer and dose."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import altair as alt

from snakesteer.config import SteeringConfig
from snakesteer.config.catalogue import METHODS
from snakesteer.report.evidence import Evidence, Point
from snakesteer.report.figures.figure import Figure, dashed_line, layered, listing, padded
from snakesteer.report.figures.style import DIVERGING, INK, SERIES
from snakesteer.report.wording import percent, percent_interval, signed
from snakesteer.steering.methods import method

ACCURACY = "Validation accuracy"
DOSE = "Dose (mean residual norms)"
# Bins of dose at most, those at both ends and one around 0 included.
BINS = 9
ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_ROW = 34  # pixels
# Where a cell is so dark that white text reads better on it, as a share of the colour range.
DARK = 0.8


def dose_figure(evidence: Evidence) -> Figure:
    """Accuracy against dose: the sensitivity grid if the report has one, else the trials."""
    on_grid = evidence.sensitivity is not None
    found = list(evidence.sensitivity or evidence.trials)
    names = [
        f"{name}, layer {point.layer}" if on_grid else name if point.alpha else "no steering"
        for point, name in zip(found, configurations(found), strict=True)
    ]
    confidence = f"{evidence.test['confidence']:.0%}"
    source = (
        "on a grid of doses of both signs"
        if on_grid
        else "in every trial of the search (hollow squares were ended early, on fewer problems)"
    )
    # A trial that was ended early had few problems to be lucky on.
    best = max((point for point in found if not point.pruned), key=lambda point: point.accuracy)
    trial = () if on_grid else ("Trial",)
    return Figure(
        name="dose",
        title="Accuracy by dose",
        caption=(
            f"Accuracy on the validation split {source}, with {confidence} Wilson intervals. A "
            "dose is the length of what is added to the residual stream, in units of the stream's "
            f"mean norm{_dose_notes(evidence, found)}. The dashed line is the unsteered model, "
            "which dose 0 must meet."
        ),
        alt=(
            f"Validation accuracy against dose, {len(found)} points. Unsteered: "
            f"{percent(evidence.validation_accuracy)}. Highest: {percent(best.accuracy)}, "
            f"{described(found)[found.index(best)]}."
        ),
        columns=(
            *trial,
            *("Configuration", "Layer", "Dose", "α"),
            *("Accuracy", f"{confidence} interval", "Problems"),
        ),
        rows=tuple(
            (
                *((_trial_name(p),) if trial else ()),
                name,
                str(p.layer) if p.alpha or on_grid else "",
                signed(p.delivered, 3),
                signed(p.alpha, 3),
                percent(p.accuracy),
                percent_interval(p.accuracy_ci),
                str(p.problems),
            )
            for p, name in zip(found, names, strict=True)
        ),
        chart=_dose_chart(evidence, found, names, on_grid),
    )


def layer_dose_figure(evidence: Evidence) -> Figure:
    """Accuracy by layer and dose: cells of the sensitivity grid, or trials in bins of dose."""
    on_grid = evidence.sensitivity is not None
    # The unsteered trial belongs to no layer.
    found = list(evidence.sensitivity or (point for point in evidence.trials if point.alpha))
    cells = _cells(found, on_grid)
    unsteered = evidence.validation_accuracy
    doses = sorted({dose for _, dose in cells})
    if not on_grid:
        width = _bin_width(found)
        first, last = round(doses[0] / width), round(doses[-1] / width)
        doses = [round(number * width, 4) for number in range(first, last + 1)]
    rows = sorted({row for row, _ in cells})
    values: list[dict[str, Any]] = [
        {
            "row": _row_name(row),
            "dose": _dose_name(dose),
            "accuracy": correct / problems,
            "text": f"{100 * correct / problems:.0f}",
            "difference": correct / problems - unsteered,
            "problems": problems,
        }
        for (row, dose), (correct, problems) in sorted(cells.items())
    ]
    text = {(value["row"], value["dose"]): value["text"] for value in values}
    pooled = (
        "" if on_grid else " Trials of similar dose share a cell, each weighted by its problems."
    )
    return Figure(
        name="layer_dose",
        title="Accuracy by layer and dose",
        caption=(
            "Validation accuracy in percent. Blue cells are better than the unsteered model "
            f"({percent(unsteered)}), orange ones worse; empty ones were not tried.{pooled}"
        ),
        alt="Heat map of validation accuracy. "
        + listing((f"{v['row']}, dose {v['dose']}", f"{v['text']}%") for v in values),
        columns=("Layer", *(_dose_name(dose) for dose in doses)),
        rows=tuple(
            (name, *(text.get((name, _dose_name(dose)), "") for dose in doses))
            for name in map(_row_name, rows)
        ),
        chart=_heat_map(values, [_dose_name(d) for d in doses], [_row_name(row) for row in rows]),
    )


def configurations(found: Sequence[Point]) -> list[str]:
    """What tells points apart besides layer and dose: the method, and the direction if several."""
    several = len({point.direction for point in found}) > 1
    return [f"{p.method} / {p.direction}" if several else p.method for p in found]


def described(found: Sequence[Point]) -> list[str]:
    """What each point is, in words: no steering, or configuration, layer and dose."""
    return [
        f"{name}, layer {point.layer}, dose {signed(point.dose, 3)}"
        if point.alpha
        else "no steering"
        for point, name in zip(found, configurations(found), strict=True)
    ]


def _dose_notes(evidence: Evidence, found: Sequence[Point]) -> str:
    """Where a dose is something else, if any such method is among the points."""
    steering = SteeringConfig.model_validate(evidence.config["steering"])
    alpha_t = "α_t" if evidence.sensitivity else "mean α_t"
    dynamic = any(method(name).dynamic(steering) for name in {point.method for point in found})
    notes = [
        *([f"where the strength is dynamic, times its {alpha_t}"] if dynamic else []),
        *(["for a band at every layer"] if steering.band > 1 else []),
        *(f"for `{name}` an angle" for name in ("angular", "rotate") if name in steering.operators),
        *(["for `ablate` the removed share"] if "ablate" in steering.operators else []),
    ]
    return f" ({'; '.join(notes)})" if notes else ""


def _trial_name(point: Point) -> str:
    return f"{point.trial} (ended early)" if point.pruned else str(point.trial)


def _dose_chart(
    evidence: Evidence, found: Sequence[Point], names: Sequence[str], on_grid: bool
) -> alt.LayerChart:
    values = [
        {
            "series": name,
            "layer": str(point.layer) if point.alpha or on_grid else "",
            "dose": point.delivered,
            "accuracy": point.accuracy,
            "low": point.accuracy_ci[0],
            "high": point.accuracy_ci[1],
            "problems": point.problems,
            "trial": point.trial,
            "pruned": point.pruned,
        }
        for point, name in zip(found, names, strict=True)
    ]
    scale = padded([each for point in found for each in point.accuracy_ci], 0.0, 1.0)
    series = list(dict.fromkeys(names))
    # Beyond the colours that can be told apart, series are layers in order: a ramp shows that.
    colours = (
        alt.Scale(domain=series, range=SERIES[: len(series)])
        if len(series) <= len(SERIES)
        else alt.Scale(domain=series, scheme="viridis")
    )
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X(
            "dose:Q",
            title=DOSE,
            axis=alt.Axis(tickCount=6, format="~"),
            scale=alt.Scale(nice=False, padding=12),
        ),
        color=alt.Color("series:N", scale=colours, sort=series),
    )
    low = alt.Y(
        "low:Q",
        title=ACCURACY,
        axis=alt.Axis(format=".0%", tickCount=6),
        scale=scale,
    )
    tooltip = [
        *(() if on_grid else (alt.Tooltip("trial:Q", title="Trial"),)),
        alt.Tooltip("series:N", title="Configuration"),
        alt.Tooltip("layer:N", title="Layer"),
        alt.Tooltip("dose:Q", title="Dose", format="+.3f"),
        alt.Tooltip("accuracy:Q", title="Accuracy", format=".1%"),
        alt.Tooltip("problems:Q", title="Problems"),
    ]
    accuracy = alt.Y("accuracy:Q", scale=scale)
    if on_grid:
        marks = [
            base.mark_area(opacity=0.08).encode(y=low, y2="high:Q"),
            base.mark_line(strokeWidth=2).encode(y=accuracy),
        ]
    else:
        marks = [base.mark_rule(strokeWidth=1.5, opacity=0.35).encode(y=low, y2="high:Q")]
    pruned = any(point.pruned for point in found)
    finished = base.mark_point(size=65, filled=True, opacity=1).encode(y=accuracy, tooltip=tooltip)
    ended_early = base.mark_point(
        shape="square", size=65, strokeWidth=2, fill="white", opacity=1
    ).encode(y=accuracy, tooltip=tooltip)
    return layered(
        dashed_line(scale, y=evidence.validation_accuracy),
        *marks,
        *([ended_early.transform_filter("datum.pruned")] if pruned else []),
        finished.transform_filter("!datum.pruned"),
        height=300,
    )


def _cells(
    found: Sequence[Point], on_grid: bool
) -> dict[tuple[tuple[str, int], float], tuple[int, int]]:
    """Correct answers and problems by row (configuration and layer) and dose."""
    width = _bin_width(found)
    cells: dict[tuple[tuple[str, int], float], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for point, name in zip(found, configurations(found), strict=True):
        dose = point.delivered if on_grid else round(point.delivered / width) * width
        # Where heads of all layers are steered, the layer is only that of a probe.
        layer = -1 if METHODS[point.method].kind == "heads" else point.layer
        key = ((name, layer), round(dose, 4))
        correct, problems = cells[key]
        cells[key] = (
            correct + round(point.accuracy * point.problems),
            problems + point.problems,
        )
    return dict(cells)


def _bin_width(found: Sequence[Point]) -> float:
    """The round number at which `BINS` hold all doses."""
    least = 2.0 * max(abs(point.delivered) for point in found) / (BINS - 1)
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in ROUND if step * power >= least * 0.999)


def _dose_name(dose: float) -> str:
    text = signed(dose, 3)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _row_name(row: tuple[str, int]) -> str:
    name, layer = row
    return f"{name}, all layers" if layer < 0 else f"{name}, layer {layer}"


def _heat_map(
    values: Sequence[dict[str, Any]], doses: Sequence[str], rows: Sequence[str]
) -> alt.LayerChart:
    reach = max(0.05, *(abs(value["difference"]) for value in values))
    base = alt.Chart(alt.Data(values=list(values))).encode(
        x=alt.X(
            "dose:O",
            title=DOSE,
            scale=alt.Scale(domain=list(doses)),
            axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
        ),
        y=alt.Y("row:N", title=None, sort=list(rows), axis=alt.Axis(labelLimit=140, domain=False)),
        tooltip=[
            alt.Tooltip("row:N", title="Configuration"),
            alt.Tooltip("dose:O", title="Dose"),
            alt.Tooltip("accuracy:Q", title="Accuracy", format=".1%"),
            alt.Tooltip("difference:Q", title="Difference from unsteered", format="+.1%"),
            alt.Tooltip("problems:Q", title="Problems answered"),
        ],
    )
    cells = base.mark_rect(cornerRadius=3, stroke="white", strokeWidth=2).encode(
        color=alt.Color(
            "difference:Q",
            legend=None,
            scale=alt.Scale(
                domain=[-reach, -reach / 2, 0, reach / 2, reach], range=DIVERGING, interpolate="lab"
            ),
        )
    )
    texts = base.mark_text(fontSize=12).encode(
        text="text:N",
        color=alt.condition(
            f"abs(datum.difference) > {DARK * reach}", alt.value("white"), alt.value(INK)
        ),
    )
    return layered(
        cells,
        texts,
        height=_ROW * len(rows),
    )
