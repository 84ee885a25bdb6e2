"""The best configuration of the study, with its evidence."""

from snakesteer.evaluation.answers import read_answers
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log
from snakesteer.search.best import best_config
from snakesteer.search.kept import searched
from snakesteer.search.selection import Rules

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    baseline = read_answers(given.baseline)
    found = best_config(
        given.db,
        baseline[: searched(len(baseline), params.confirm)],
        given.probes,
        params.seed,
        params.n_trials,
        Rules(params.one_standard_error, params.max_t, params.level, params.kl_budget),
        given.confirmation or None,
    )
    write_json(snakemake.output[0], found)
