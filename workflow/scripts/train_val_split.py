"""Train and validation splits, both from the official train part."""

from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.splits import carve_train_val
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params = snakemake.params
    train, val = carve_train_val(
        read_problems(snakemake.input.problems), params.train, params.val, params.seed
    )
    write_problems(snakemake.output.train, train)
    write_problems(snakemake.output.val, val)
