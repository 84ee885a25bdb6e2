"""The report, its figures, the methods paragraph and its references."""

from pathlib import Path

from snakesteer.records.files import write_text
from snakesteer.records.logs import script_log
from snakesteer.report.evidence import read_evidence
from snakesteer.report.figures.all import grid_figures, make_figures
from snakesteer.report.figures.figure import write_figure
from snakesteer.report.methods_text import methods_text, references
from snakesteer.report.page import render_page

with script_log(snakemake.log[0]):
    given, output = snakemake.input, snakemake.output
    evidence = read_evidence(
        test=given.test,
        generations=given.generations,
        best=given.best,
        baseline=given.baseline,
        trials=given.trials,
        db=given.db,
        probes=given.probes,
        vectors=given.vectors,
        model=given.model,
        manifest=given.manifest,
        provenance=given.provenance,
        zero_steering=given.zero_steering,
        controls=given.controls,
        sensitivity=given.sensitivity or None,
        training=given.training,
    )
    figures = make_figures(evidence)
    for figure in figures.values():
        write_figure(figure, Path(output.accuracy).parent)
    methods = methods_text(evidence)
    write_text(output.methods, methods)
    write_text(output.references, references(methods))
    shown = figures | grid_figures(evidence)
    write_text(output.report, render_page(evidence, shown, methods, references(methods)))
