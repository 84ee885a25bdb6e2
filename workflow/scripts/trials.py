"""The tables of the study: study.db and trials.csv."""

from pathlib import Path

from snakesteer.records.logs import script_log
from snakesteer.search.journal import JOURNAL_NAME
from snakesteer.search.tables import collect

with script_log(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    journal = Path(output.db).with_name(JOURNAL_NAME)
    collect(journal, snakemake.input.workers, params.n_trials, output.db, output.trials)
