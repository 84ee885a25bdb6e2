"""The best configuration of the study, with its evidence."""

from snakesteer.evaluation.answers import read_answers
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log
from snakesteer.search.best import best_config

with script_log(snakemake.log[0]):
    baseline = read_answers(snakemake.input.baseline)
    params = snakemake.params
    write_json(
        snakemake.output[0],
        best_config(
            snakemake.input.db, baseline, snakemake.input.probes, params.seed, params.one_se
        ),
    )
