"""The test split, and the manifest that shows that no two splits share a problem."""

from snakesteer.data.problem import read_problems, write_problems
from snakesteer.data.splits import carve_test, check_disjoint, manifest
from snakesteer.files import sha256_file, write_json
from snakesteer.logs import script_log

with script_log(snakemake.log[0]):
    official = read_problems(snakemake.input.problems)
    splits = {name: read_problems(snakemake.input[name]) for name in ("train", "val")}
    splits["test"] = carve_test(
        official, snakemake.params.test, snakemake.params.seed, splits["train"], splits["val"]
    )
    write_problems(snakemake.output.test, splits["test"])
    files = {"train": snakemake.input.train, "val": snakemake.input.val}
    files["test"] = snakemake.output.test
    record = manifest(splits, official, {name: sha256_file(path) for name, path in files.items()})
    check_disjoint(record)
    write_json(snakemake.output.manifest, record)
