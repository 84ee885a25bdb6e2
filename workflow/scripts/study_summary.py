"""The summary of a study: a table, a page and a figure of all its runs."""

import json
from pathlib import Path

from snakesteer.records.logs import script_log
from snakesteer.study.finish import study_runs
from snakesteer.study.summary import write_summary

with script_log(snakemake.log[0]):
    runs = study_runs(json.loads(snakemake.params.runs))
    output = snakemake.output
    write_summary(runs, output.table, output.report, Path(output.effects).parent)
