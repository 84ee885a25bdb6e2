"""The figure of the grid of strengths, and in words where the best one lies."""

from pathlib import Path

from snakesteer.evaluation.strengths import in_words, read_strengths
from snakesteer.records.logs import script_log
from snakesteer.report.figures.figure import write_figure
from snakesteer.report.figures.sensitivity import sensitivity_figure

with script_log(snakemake.log[0]) as log:
    rows = read_strengths(snakemake.input.table)
    log.info(in_words(rows))
    figure = sensitivity_figure(rows, snakemake.params.confidence)
    write_figure(figure, Path(snakemake.output.svg).parent)
