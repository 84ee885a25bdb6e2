"""What accuracy costs: the trials of a search with two objectives, and their front."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from snakesteer.report.evidence import Evidence, Point
from snakesteer.report.figures.dose import ACCURACY, described
from snakesteer.report.figures.figure import Figure, dashed_line, layered, padded
from snakesteer.report.figures.style import BLUE, INK, MUTED, VERMILION
from snakesteer.report.wording import count, percent, points

# Budgets to the right of 0 that are drawn; trials beyond are counted in the caption.
SHOWN = 4.0


def pareto_figure(evidence: Evidence) -> Figure:
    """Validation accuracy against KL on neutral text, with the front, the budget and the choice."""
    record = evidence.best["kl"]
    budget, names = record["budget"], described(evidence.trials)
    chosen = evidence.best["trial"]
    front = sorted(
        (point for point in evidence.trials if point.on_front), key=lambda point: _kl(point)
    )
    outside = sorted(evidence.over_budget.items())
    beyond = sum(kl > SHOWN * budget for _, kl in outside)
    over = (
        f" Crosses at the bottom are the {count(len(outside), 'trial')} over the budget, which "
        f"answered nothing{f' ({beyond} of them beyond the right end)' if beyond else ''}."
        if outside
        else ""
    )
    return Figure(
        name="pareto",
        title="Accuracy and what it costs elsewhere",
        caption=(
            "Validation accuracy of every trial against how far it moves what the model says of "
            "neutral text (mean KL per token, on passages kept for the search; square-root scale). "
            "Filled points are on the Pareto front, the step line: no other trial is as accurate "
            "at less KL. The vertical line is the budget, the triangle the unsteered model, the "
            f"diamond the tested configuration.{over} {pareto_words(evidence)}"
        ),
        alt=f"Validation accuracy against KL for {count(len(evidence.trials), 'trial')}, "
        f"{len(front)} of them on the front. {pareto_words(evidence)}",
        columns=("Trial", "KL (nats per token)", "Accuracy", "On the front", "Configuration"),
        rows=(
            *(
                (
                    f"{point.trial} (tested)" if point.trial == chosen else str(point.trial),
                    f"{_kl(point):.3g}",
                    percent(point.accuracy),
                    "yes" if point.on_front else "no",
                    name,
                )
                for point, name in sorted(
                    zip(evidence.trials, names, strict=True), key=lambda pair: _kl(pair[0])
                )
            ),
            *(
                (str(number), f"{kl:.3g}", "not answered", "over the budget", "")
                for number, kl in outside
            ),
        ),
        chart=_chart(evidence, front, names, chosen, budget),
    )


def pareto_words(evidence: Evidence) -> str:
    """Front and choice in a sentence."""
    record = evidence.best["kl"]
    chosen = next(p for p in evidence.trials if p.trial == evidence.best["trial"])
    lead = chosen.accuracy - evidence.best["baseline_validation_score"]
    front = [point for point in evidence.trials if point.on_front]
    text = (
        f"The tested configuration costs {_kl(chosen):.3g} of the {record['budget']:g} nats per "
        f"token that the budget allows, for {points(lead)} on validation"
    )
    if not record["on_front"]:
        return f"{text}; it is not on the front, as another trial is as accurate for less."
    if len(front) == 1:
        return f"{text}; it is all of the front."
    cheaper = [p for p in front if p.alpha != 0.0 and _kl(p) < _kl(chosen)]
    if not cheaper:
        return f"{text}; of the front, only no steering costs less."
    next_one = max(cheaper, key=_kl)
    return (
        f"{text}; the next cheaper trial of the front has "
        f"{points(next_one.accuracy - evidence.best['baseline_validation_score'])} for "
        f"{_kl(next_one):.3g}."
    )


def _chart(
    evidence: Evidence, front: Sequence[Point], names: Sequence[str], chosen: int, budget: float
) -> alt.LayerChart:
    values: list[dict[str, Any]] = [
        {
            "trial": point.trial,
            "kl": _kl(point),
            "accuracy": point.accuracy,
            "kind": _kind(point, chosen),
            "what": name,
        }
        for point, name in zip(evidence.trials, names, strict=True)
    ]
    crosses = [
        {"trial": number, "kl": kl, "what": "over the budget, not answered"}
        for number, kl in evidence.over_budget.items()
        if kl <= SHOWN * budget
    ]
    right = 1.1 * max([budget, *(value["kl"] for value in [*values, *crosses])])
    across = alt.Scale(type="sqrt", domain=[0.0, right], nice=False)
    up = padded([point.accuracy for point in evidence.trials], 0.0, 1.0)
    x = alt.X(
        "kl:Q",
        title="KL on neutral text (nats per token)",
        scale=across,
        axis=alt.Axis(tickCount=6, grid=False),
    )
    y = alt.Y("accuracy:Q", title=ACCURACY, scale=up, axis=alt.Axis(format=".0%", tickCount=6))
    tooltip = [
        alt.Tooltip("trial:Q", title="Trial"),
        alt.Tooltip("kl:Q", title="KL", format=".3g"),
        alt.Tooltip("what:N", title="Configuration"),
    ]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=x, y=y, tooltip=[*tooltip, alt.Tooltip("accuracy:Q", title="Accuracy", format=".1%")]
    )
    steps = [{"kl": _kl(point), "accuracy": point.accuracy} for point in front]
    # The last one is the best up to the budget; nothing is known beyond.
    steps.append({"kl": budget, "accuracy": front[-1].accuracy})
    line = (
        alt.Chart(alt.Data(values=steps))
        .mark_line(interpolate="step-after", color=INK, strokeWidth=1.5, opacity=0.55)
        .encode(x=x, y=y)
    )
    marks: dict[str, dict[str, Any]] = {
        "dominated": {"color": BLUE, "fill": "white", "strokeWidth": 2, "size": 65},
        "on the front": {"color": BLUE, "filled": True, "size": 75},
        "no steering": {"color": INK, "filled": True, "size": 110, "shape": "triangle-up"},
        "tested": {"color": VERMILION, "filled": True, "size": 130, "shape": "diamond"},
    }
    there = {value["kind"] for value in values}
    layers = [
        dashed_line(across, x=budget),
        line,
        *(
            base.mark_point(opacity=1, **look).transform_filter(f"datum.kind == '{kind}'")
            for kind, look in marks.items()
            if kind in there
        ),
    ]
    if crosses:
        layers.append(
            alt.Chart(alt.Data(values=crosses))
            .mark_point(shape="cross", angle=45, size=70, color=MUTED, filled=True, opacity=1)
            .encode(x=x, y=alt.value("height"), tooltip=tooltip)
        )
    return layered(*layers, height=280)


def _kind(point: Point, chosen: int) -> str:
    if point.trial == chosen:
        return "tested"
    if point.alpha == 0.0:
        return "no steering"
    return "on the front" if point.on_front else "dominated"


def _kl(point: Point) -> float:
    assert point.kl is not None  # all trials of such a search have one
    return point.kl
