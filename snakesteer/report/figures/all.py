"""All figures of the report."""

from snakesteer.report.evidence import Evidence
from snakesteer.report.figures.dose import dose_figure, layer_dose_figure
from snakesteer.report.figures.figure import Figure
from snakesteer.report.figures.final import accuracy_figure, difference_figure
from snakesteer.report.figures.pareto import pareto_figure
from snakesteer.report.figures.search import history_figure, importance_figure, probe_figure
from snakesteer.report.figures.sensitivity import sensitivity_figure
from snakesteer.report.figures.training import training_figure

MAKERS = (
    accuracy_figure,
    difference_figure,
    dose_figure,
    layer_dose_figure,
    history_figure,
    importance_figure,
    probe_figure,
)


def make_figures(evidence: Evidence) -> dict[str, Figure]:
    """All figures of a run by name: the same ones in every run, but for those of some runs alone.

    These are the one of a training, and that of a search with two objectives.
    """
    figures = [maker(evidence) for maker in MAKERS]
    if evidence.training:
        objective = evidence.config["training"]["objective"]
        figures.append(training_figure(evidence.training, objective))
    if "kl" in evidence.best:
        figures.append(pareto_figure(evidence))
    return {figure.name: figure for figure in figures}


def grid_figures(evidence: Evidence) -> dict[str, Figure]:
    """What a report with the sensitivity grid shows besides; the grid's own rule writes it."""
    if evidence.strengths is None:
        return {}
    figure = sensitivity_figure(evidence.strengths, evidence.test["confidence"])
    return {figure.name: figure}
