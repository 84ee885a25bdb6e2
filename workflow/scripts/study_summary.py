"""The summary of a study: a table, a page and a figure of all its runs."""

import json
from pathlib import Path

from snakesteer.records.logs import script_log
from snakesteer.study.runs import StudyRun
from snakesteer.study.summary import write_summary

with script_log(snakemake.log[0]):
    runs = [
        StudyRun(run["name"], run["group"], Path(run["results"]), run["table"])
        for run in json.loads(snakemake.params.runs)
    ]
    output = snakemake.output
    write_summary(runs, output.table, output.report, Path(output.effects).parent)
