"""The search: how it went, and which of its parameters mattered."""

from itertools import accumulate
from typing import Any

import altair as alt

from snakesteer.report.evidence import MIN_TRIALS_FOR_IMPORTANCE, Evidence
from snakesteer.report.figures.dose import ACCURACY, described
from snakesteer.report.figures.figure import Figure, dashed_line, layered, listing, padded
from snakesteer.report.figures.style import BLUE, INK, VERMILION
from snakesteer.report.wording import count, percent

_ROW = 30  # pixels
_NAMES = {
    "steering_method": "method",
    "steering_direction": "direction",
    "layer_id": "layer",
    "steering_dose": "dose",
    "steering_alpha": "α",
}


def history_figure(evidence: Evidence) -> Figure:
    """Accuracy of the trials in their order, and the best so far."""
    found = evidence.trials
    ended = sum(point.pruned for point in found)
    values: list[dict[str, Any]] = [
        {
            "trial": point.trial,
            "accuracy": point.accuracy,
            "state": "ended early" if point.pruned else "finished",
            "what": what,
        }
        for point, what in zip(found, described(found), strict=True)
    ]
    finished = [value for value in values if value["state"] == "finished"]
    best = list(accumulate((value["accuracy"] for value in finished), max))
    steps = [
        {"trial": value["trial"], "best": so_far}
        for value, so_far in zip(finished, best, strict=True)
    ]
    failed = [
        {"trial": number, "state": "failed", "what": error}
        for number, error in evidence.failures.items()
    ]
    counts = (
        f"{len(finished)} finished, {ended} ended early{' (hollow squares)' if ended else ''}, "
        f"{len(failed)} failed{' (crosses at the bottom)' if failed else ''}"
        + (f", {len(evidence.over_budget)} over the KL budget" if evidence.over_budget else "")
    )
    return Figure(
        name="history",
        title="The trials in their order",
        caption=(
            f"Validation accuracy of each trial: {counts}. The step line is the best so far, the "
            "dashed line the unsteered model. The best of many noisy accuracies is too high by "
            "chance: the test split says by how much."
        ),
        alt=f"Validation accuracy by trial number: {counts}. Unsteered: "
        f"{percent(evidence.validation_accuracy)}, best: {percent(best[-1])}.",
        columns=("Trial", "State", "Accuracy", "Configuration or error"),
        rows=tuple(
            (
                str(value["trial"]),
                value["state"],
                percent(value["accuracy"]) if "accuracy" in value else "",
                value["what"],
            )
            for value in sorted([*values, *failed], key=lambda value: value["trial"])
        ),
        chart=_history_chart(evidence, values, steps, failed),
    )


def importance_figure(evidence: Evidence) -> Figure:
    """Importance of the searched parameters."""
    title = "Which parameters mattered"
    if evidence.importance is None:
        finished = sum(not point.pruned for point in evidence.trials)
        reason = (
            f"with {finished} finished trials, fewer than {MIN_TRIALS_FOR_IMPORTANCE}, they would "
            "be noise"
            if finished < MIN_TRIALS_FOR_IMPORTANCE
            else "the accuracies of the trials do not depend on any parameter"
        )
        return Figure("importance", title, f"Importances are not estimated: {reason}.")
    shares = {
        _NAMES.get(name, name.replace("_", " ")): share
        for name, share in evidence.importance.items()
    }
    values = [{"parameter": name, "share": share} for name, share in shares.items()]
    bars = (
        alt.Chart(alt.Data(values=values))
        .mark_bar(color=BLUE, cornerRadiusEnd=2, height={"band": 0.6})
        .encode(
            x=alt.X(
                "share:Q", title="Share of importance", axis=alt.Axis(format=".0%", tickCount=6)
            ),
            y=alt.Y(
                "parameter:N",
                title=None,
                sort=list(shares),
                axis=alt.Axis(labelLimit=140, grid=False),
            ),
            tooltip=[
                alt.Tooltip("parameter:N", title="Parameter"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
        .properties(height=_ROW * len(shares))
    )
    return Figure(
        name="importance",
        title=title,
        caption=(
            "How much each searched parameter sets the best trials apart from all others "
            "(PED-ANOVA over the finished trials; shares of the sum)."
        ),
        alt="Bars of parameter importance. "
        + listing((name, percent(share)) for name, share in shares.items()),
        columns=("Parameter", "Share"),
        rows=tuple((name, percent(share)) for name, share in shares.items()),
        chart=bars,
    )


def probe_figure(evidence: Evidence) -> Figure:
    """AUC of the probes by layer."""
    values = [{"layer": probe["layer"], "auc": probe["auc"]} for probe in evidence.probes]
    test = evidence.test["test_probe_metrics"]
    layers = [value["layer"] for value in values]
    instructions = evidence.config["pairs"]["kind"] == "prompt_contrast"
    sides = "one instruction against the other" if instructions else "right against wrong solutions"
    scale = padded([0.5, *(value["auc"] for value in values)], 0.0, 1.0)
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X(
            "layer:Q",
            title="Layer (0-based)",
            scale=alt.Scale(domain=[min(layers) - 0.5, max(layers) + 0.5], nice=False),
            axis=alt.Axis(format="d", values=layers, labelOverlap=True, grid=False),
        ),
        y=alt.Y(
            "auc:Q",
            title="AUC on validation pairs",
            scale=scale,
            axis=alt.Axis(format=".2f", tickCount=5),
        ),
        tooltip=[
            alt.Tooltip("layer:Q", title="Layer"),
            alt.Tooltip("auc:Q", title="AUC", format=".3f"),
        ],
    )
    chart = layered(
        dashed_line(scale, y=0.5),
        base.mark_line(color=BLUE, strokeWidth=2),
        base.mark_point(color=BLUE, filled=True, size=80, opacity=1),
        height=240,
    )
    return Figure(
        name="probes",
        title="Can the two sides of a pair be told apart inside the model?",
        caption=(
            f"Area under the ROC curve of a linear probe for {sides}, by layer, on pairs "
            "that it was not fitted on. The dashed line, 0.5, is chance. "
            + (
                f"The probe of layer {evidence.params['layer_id']} reaches {test['auc']:.2f} on "
                f"{count(test['pairs'], 'pair')} of the test split."
                if test["pairs"]
                else "No pair of the test split can be read where the probes were."
            )
        ),
        alt="AUC of a linear probe by layer. "
        + listing((f"layer {v['layer']}", f"{v['auc']:.2f}") for v in values),
        columns=("Layer", "AUC", "Accuracy", "Precision", "Recall", "F1"),
        rows=tuple(
            (
                str(probe["layer"]),
                *(f"{probe[key]:.3f}" for key in ("auc", "accuracy", "precision", "recall", "f1")),
            )
            for probe in evidence.probes
        ),
        chart=chart,
    )


def _history_chart(
    evidence: Evidence,
    values: list[dict[str, Any]],
    steps: list[dict[str, Any]],
    failed: list[dict[str, Any]],
) -> alt.LayerChart:
    scale = padded([value["accuracy"] for value in values], 0.0, 1.0)
    x = alt.X(
        "trial:Q",
        title="Trial",
        axis=alt.Axis(format="d", tickMinStep=1, tickCount=8, grid=False),
        scale=alt.Scale(nice=False, padding=12),
    )
    y = alt.Y(
        "accuracy:Q",
        title=ACCURACY,
        axis=alt.Axis(format=".0%", tickCount=6),
        scale=scale,
    )
    tooltip = [
        alt.Tooltip("trial:Q", title="Trial"),
        alt.Tooltip("state:N", title="State"),
        alt.Tooltip("what:N", title="Configuration"),
    ]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=x, y=y, tooltip=[*tooltip, alt.Tooltip("accuracy:Q", title="Accuracy", format=".1%")]
    )
    finished = base.mark_point(size=65, color=BLUE, filled=True, opacity=1)
    ended_early = base.mark_point(
        shape="square", size=65, strokeWidth=2, color=BLUE, fill="white", opacity=1
    )
    best = (
        alt.Chart(alt.Data(values=steps))
        .mark_line(interpolate="step-after", color=INK, strokeWidth=1.5, opacity=0.55)
        .encode(x="trial:Q", y=alt.Y("best:Q", scale=scale))
    )
    layers = [dashed_line(scale, y=evidence.validation_accuracy), best]
    if any(value["state"] != "finished" for value in values):
        layers.append(ended_early.transform_filter("datum.state != 'finished'"))
    layers.append(finished.transform_filter("datum.state == 'finished'"))
    if failed:
        layers.append(
            alt.Chart(alt.Data(values=failed))
            .mark_point(shape="cross", angle=45, size=90, color=VERMILION, filled=True, opacity=1)
            .encode(x="trial:Q", y=alt.value("height"), tooltip=tooltip)
        )
    return layered(
        *layers,
        height=260,
    )
