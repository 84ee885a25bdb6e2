"""The validation split, from the official train part or from the official test part."""

from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.splits import carve_train_val, carve_val_test
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    params, inputs = snakemake.params, snakemake.input
    problems, train = read_problems(inputs.problems, 0), read_problems(inputs.train)
    seed, near = params.seed, params.near
    if params.validation_from == "train":
        _, val = carve_train_val(problems, len(train), params.val, seed, near)
    else:
        val, _, _ = carve_val_test(problems, params.val, params.test, seed, train, near)
    write_problems(snakemake.output[0], val)
