"""The train split, from the official train part."""

from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.splits import carve_test, carve_train_val
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params, problems = snakemake.params, read_problems(snakemake.input.problems, 0)
    train, val = carve_train_val(problems, params.train, params.val, params.seed, params.near)
    if params.test:
        carve_test(problems, params.test, params.seed, train, val, params.near)
    write_problems(snakemake.output[0], train)
