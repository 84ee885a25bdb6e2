"""The attention heads that tell right from wrong solutions best, and where to push them."""

from snakesteer.records.logs import script_log
from snakesteer.steering.vector import write_head_vector
from snakesteer.vectors.iti import estimate_iti

with script_log(snakemake.log[0]):
    params = snakemake.params
    vector, header = estimate_iti(
        snakemake.input.train, snakemake.input.val, params.heads, params.c
    )
    write_head_vector(snakemake.output[0], vector, header)
