"""The test split, and the manifest that shows that no two splits share a problem."""

from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.splits import carve_test, carve_val_test, splits_manifest
from snakesteer.records.files import sha256_file, write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    sources = {name: read_problems(inputs[f"official_{name}"], 0) for name in ("train", "test")}
    train, val = read_problems(inputs.train), read_problems(inputs.val)
    official, size, seed, near = sources["test"], params.test, params.seed, params.near
    if params.validation_from == "train":
        test, left_out = carve_test(official, size, seed, train, val, near)
    else:
        _, test, left_out = carve_val_test(official, len(val), size, seed, train, near)
    write_problems(snakemake.output.test, test)
    files = {"train": inputs.train, "val": inputs.val, "test": snakemake.output.test}
    hashes = {name: sha256_file(path) for name, path in files.items()}
    splits = {"train": train, "val": val, "test": test}
    manifest = splits_manifest(splits, sources, left_out, hashes, near)
    write_json(snakemake.output.manifest, manifest)
