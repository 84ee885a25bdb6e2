"""Activations of one layer without what the read tokens predict."""

from snakesteer.records.logs import script_log
from snakesteer.vectors.token_means import remove_token_means

with script_log(snakemake.log[0]):
    given, output = snakemake.input, snakemake.output
    remove_token_means(given.train, given.val, output.train, output.val, output.effects)
