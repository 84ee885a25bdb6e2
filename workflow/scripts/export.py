"""The chosen configuration in one format."""

from pathlib import Path

from snakesteer.config import ModelConfig, PairsConfig
from snakesteer.config.params import section
from snakesteer.records.logs import script_log
from snakesteer.report.exports.chosen import read_candidate, read_chosen
from snakesteer.report.exports.formats import FORMATS, check

with script_log(snakemake.log[0]):
    params, files = snakemake.params, snakemake.input
    check(params.format, read_candidate(files.best))
    chosen = read_chosen(
        files.best,
        files.results,
        files.info,
        files.pairs,
        files.vectors,
        section(ModelConfig, "model", params),
        section(PairsConfig, "pairs", params),
    )
    FORMATS[params.format].write(Path(snakemake.output[0]).parent, chosen)
