"""One official part of the data source, as problems."""

from snakesteer.config import DataConfig
from snakesteer.config.params import section
from snakesteer.data.problem import write_problems
from snakesteer.data.sources import load_official
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]) as log:
    data = section(DataConfig, "data", snakemake.params)
    problems = load_official(data, snakemake.wildcards.official)
    write_problems(snakemake.output[0], problems)
    log.info("%d problems", len(problems))
