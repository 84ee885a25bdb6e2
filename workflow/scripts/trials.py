"""The tables of the study: study.db and trials.csv."""

from snakesteer.records.logs import script_log
from snakesteer.search.tables import collect

with script_log(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    collect(params.journal, snakemake.input.workers, params.n_trials, output.db, output.trials)
