"""The test split: accuracies and differences as forest plots."""

from collections.abc import Sequence

import altair as alt

from snakesteer.report.evidence import Arm, Evidence
from snakesteer.report.figures.figure import Figure, listing, padded
from snakesteer.report.figures.forest import Estimate, forest
from snakesteer.report.figures.style import BLUE, INK, MUTED
from snakesteer.report.wording import count, p_number, percent, percent_interval, signed

# What a row of a forest plot is drawn in, by the kind of arm; a control is grey.
ARM_COLOURS = {"unsteered": INK, "steered": BLUE}

# An arm, a value and its interval.
ArmInterval = tuple[Arm, float, tuple[float, float]]


def accuracy_figure(evidence: Evidence) -> Figure:
    """Accuracy of every arm."""
    arms, n = evidence.arms, evidence.test["num_test_samples"]
    confidence = f"{evidence.test['confidence']:.0%}"
    several = "seeds" in evidence.test
    intervals = "intervals of a bootstrap over problems" if several else "Wilson intervals"
    return Figure(
        name="accuracy",
        title="Accuracy on the test split",
        caption=(
            f"Share of the {count(n, 'test problem')} answered correctly, with {confidence} "
            f"{intervals}. The dashed line is the unsteered model. Overlapping intervals do not "
            "settle whether two arms differ, as both answered the same problems: the next figure "
            "does."
        ),
        alt="Forest plot of accuracies. " + listing((a.label, percent(a.accuracy)) for a in arms),
        columns=("Arm", "Accuracy", f"{confidence} interval"),
        rows=tuple((a.label, percent(a.accuracy), percent_interval(a.accuracy_ci)) for a in arms),
        chart=_forest(
            [(arm, arm.accuracy, arm.accuracy_ci) for arm in arms],
            title="Accuracy",
            axis_format=".0%",
            tooltip_format=".1%",
            line=arms[0].accuracy,
            limits=(0.0, 1.0),
        ),
    )


def difference_figure(evidence: Evidence) -> Figure:
    """Difference of every arm from the unsteered model, in percentage points."""
    rows: list[ArmInterval] = [
        (arm, 100.0 * arm.difference, (100.0 * arm.difference_ci[0], 100.0 * arm.difference_ci[1]))
        for arm in evidence.arms
        if arm.difference is not None and arm.difference_ci is not None
    ]
    confidence, n = f"{evidence.test['confidence']:.0%}", evidence.test["num_test_samples"]
    return Figure(
        name="difference",
        title="Difference from the unsteered model",
        caption=(
            f"Change in accuracy on the same {count(n, 'test problem')}, with {confidence} "
            "intervals of the paired bootstrap. Right of the dashed line is better than unsteered. "
            "In the table, p (Holm) is adjusted for the number of controls, and a control's "
            "verdict follows it."
        ),
        alt="Forest plot of differences in percentage points. "
        + listing((arm.label, signed(value)) for arm, value, _ in rows),
        columns=(
            *("Arm", "Difference in points", f"{confidence} interval"),
            *("Gained", "Lost", "p", "p (Holm)", "Verdict"),
        ),
        rows=tuple(
            (
                arm.label,
                signed(value),
                f"{signed(low)} to {signed(high)}",
                str(arm.gained),
                str(arm.lost),
                *("" if p is None else p_number(p) for p in (arm.p_value, arm.p_holm)),
                arm.verdict or "",
            )
            for arm, value, (low, high) in rows
        ),
        chart=_forest(
            rows,
            title="Difference in points",
            axis_format=".0f",
            tooltip_format="+.1f",
            line=0.0,
            limits=(-100.0, 100.0),
        ),
    )


def _forest(
    rows: Sequence[ArmInterval],
    *,
    title: str,
    axis_format: str,
    tooltip_format: str,
    line: float,
    limits: tuple[float, float],
) -> alt.LayerChart:
    estimates = [
        Estimate(
            label=arm.label,
            value=value,
            low=low,
            high=high,
            colour=ARM_COLOURS.get(arm.kind, MUTED),
            shape="circle" if arm.kind in ARM_COLOURS else "diamond",
        )
        for arm, value, (low, high) in rows
    ]
    return forest(
        estimates,
        title=title,
        axis_format=axis_format,
        tooltip_format=tooltip_format,
        line=line,
        scale=padded([line, *(each for _, _, interval in rows for each in interval)], *limits),
    )
