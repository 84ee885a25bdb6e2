"""The result of a run: the test split, and what the tested steering does elsewhere."""

from snakesteer.records.files import read_json, write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    given = snakemake.input
    results = {**read_json(given.evaluation), "off_target": None, "harness": None}
    for name, path in zip(snakemake.params.records, given.off_target, strict=True):
        record = read_json(path)
        del record["best_trial_params"]
        results[name] = record
    write_json(snakemake.output[0], results)
