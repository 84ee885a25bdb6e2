"""The figure of a comparison: differences as forest plots, one panel for each model."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import altair as alt

from snakesteer.report.figures.figure import padded
from snakesteer.report.figures.forest import forest
from snakesteer.report.figures.style import CONFIG, WIDTH
from snakesteer.study.effects import estimate_of
from snakesteer.study.rows import RunRow


def run_table_spec(rows: Sequence[RunRow], confidence: float) -> dict[str, Any]:
    """Difference of every run from its own unsteered model, as a Vega-Lite specification.

    Args:
        rows: Those of a model together.
        confidence: Of the intervals.
    """
    scale = padded((100.0 * x for row in rows for x in (0.0, row.low, row.high)), -100.0, 100.0)
    panels = [
        forest(
            [estimate_of(f"{row.results}\n{row.choice}", row) for row in group],
            title=f"Difference (percentage points, {confidence:.0%} interval)",
            axis_format="+.0f",
            tooltip_format="+.1f",
            line=0.0,
            scale=scale,
            label_width=420,
        ).properties(width=WIDTH, title=alt.TitleParams(model, anchor="start"))
        for model, group in groupby(rows, lambda row: row.model)
    ]
    return alt.vconcat(*panels).configure(**CONFIG).to_dict()
