"""The test split, and the manifest that shows that no two splits share a problem."""

from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.splits import carve_test, splits_manifest
from snakesteer.records.files import sha256_file, write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    sources = {name: read_problems(inputs[f"official_{name}"]) for name in ("train", "test")}
    train, val = read_problems(inputs.train), read_problems(inputs.val)
    test, left_out = carve_test(sources["test"], params.test, params.seed, train, val)
    write_problems(snakemake.output.test, test)
    files = {"train": inputs.train, "val": inputs.val, "test": snakemake.output.test}
    hashes = {name: sha256_file(path) for name, path in files.items()}
    splits = {"train": train, "val": val, "test": test}
    write_json(snakemake.output.manifest, splits_manifest(splits, sources, left_out, hashes))
