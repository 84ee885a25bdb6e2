"""How vectors were trained: the loss, or the reward, from step to step."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from snakesteer.report.figures.figure import Figure
from snakesteer.report.figures.style import SERIES, WIDTH
from snakesteer.vectors.training.steps import TrainingStep


def training_figure(logs: Mapping[str, Sequence[TrainingStep]], objective: str) -> Figure:
    """Loss (or reward) of every step, and what is held out at the end of every epoch.

    Args:
        logs: Steps of every training, by the name of what was trained.
        objective: ``training.objective``.
    """
    rewarded = objective == "reinforce"
    what = "reward" if rewarded else "loss"
    values: list[dict[str, Any]] = [
        {"training": name, "step": row.step, "on": on, "value": value}
        for name, rows in logs.items()
        for row in rows
        for key, on in ((what, "learned"), ("held_out", "held out"))
        if (value := getattr(row, key)) is not None
    ]
    words = "; ".join(f"{name}: {_in_words(rows, what)}" for name, rows in logs.items())
    return Figure(
        name="training",
        title="How the vectors were trained",
        caption=(
            f"Mean {what} of every step on what is learned (lines), and at the end of every epoch "
            "on train problems that are held out (points), which choose the epoch. Neither is "
            f"accuracy on the validation or the test split. {words}."
        ),
        alt=f"Mean {what} by step of the training. {words}.",
        columns=("Trained", "Epoch", "Step", what.capitalize(), "Held out", "Dose"),
        rows=tuple(
            (
                name,
                str(row.epoch),
                str(row.step),
                _number(getattr(row, what)),
                _number(row.held_out),
                _number(row.dose),
            )
            for name, rows in logs.items()
            for row in rows
        ),
        chart=_chart(values, list(logs), what),
    )


def _in_words(rows: Sequence[TrainingStep], what: str) -> str:
    ends = [row.held_out for row in rows if row.held_out is not None]
    if ends:
        best = (max if what == "reward" else min)(ends)
        return f"held-out {what} {_number(ends[0])} before, {_number(best)} at best"
    steps = [value for row in rows if (value := getattr(row, what)) is not None]
    return f"{what} {_number(steps[0])} in the first step, {_number(steps[-1])} in the last"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _chart(values: Sequence[Mapping[str, Any]], names: Sequence[str], what: str) -> alt.LayerChart:
    colour = alt.Color(
        "training:N",
        scale=alt.Scale(domain=names, range=[SERIES[i % len(SERIES)] for i in range(len(names))]),
        legend=alt.Legend() if len(names) > 1 else None,
    )
    x = alt.X("step:Q", title="Step", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("value:Q", title=f"Mean {what}", scale=alt.Scale(zero=False, nice=True))

    def part(on: str) -> alt.Chart:
        chosen = [dict(value) for value in values if value["on"] == on]
        return alt.Chart(alt.Data(values=chosen)).encode(x=x, y=y, color=colour)

    return alt.LayerChart(
        layer=[
            part("learned").mark_line(strokeWidth=1.5, opacity=0.6),
            part("held out").mark_point(filled=True, size=60, opacity=1),
        ]
    ).properties(width=WIDTH, height=240)
