"""All figures of the report."""

from pathlib import Path

from snakesteer.files import atomic_path, write_text
from snakesteer.report.dose_figures import dose_figure, layer_dose_figure
from snakesteer.report.evidence import Evidence
from snakesteer.report.figure import Figure
from snakesteer.report.search_figures import history_figure, importance_figure, probe_figure
from snakesteer.report.test_split_figures import accuracy_figure, difference_figure

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
    """All figures of a run by name: the same ones in every run."""
    figures = [maker(evidence) for maker in MAKERS]
    return {figure.name: figure for figure in figures}


def write_figure(figure: Figure, folder: str | Path) -> None:
    """Write a figure as SVG and PNG, atomically."""
    write_text(Path(folder) / f"{figure.name}.svg", figure.svg())
    with atomic_path(Path(folder) / f"{figure.name}.png") as temporary:
        temporary.write_bytes(figure.png())
