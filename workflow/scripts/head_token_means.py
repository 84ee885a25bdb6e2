"""Outputs of all attention heads without what the read tokens predict."""

from pathlib import Path

from snakesteer.records.logs import script_log
from snakesteer.vectors.token_means import remove_token_means

with script_log(snakemake.log[0]):
    given, output = snakemake.input, snakemake.output
    for path in sorted(Path(given.train).glob("layer_*.h5")):
        parts = (given.train, given.val, output.train, output.val)
        remove_token_means(*(Path(part) / path.name for part in parts))
