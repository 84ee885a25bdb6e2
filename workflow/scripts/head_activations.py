"""Outputs of all attention heads on one split's contrast pairs."""

from snakesteer.data.prompts import open_prompter
from snakesteer.models.heads import find_heads
from snakesteer.models.open import open_model
from snakesteer.records.logs import script_log
from snakesteer.vectors.capture import source_of, write_activations
from snakesteer.vectors.pairs import read_pairs
from snakesteer.vectors.reads import readable_pairs

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    pairs = readable_pairs(
        prompter,
        read_pairs(snakemake.input.pairs),
        params.read,
        params.min_pairs,
        snakemake.wildcards.split,
    )
    heads = find_heads(loaded.model)
    source = source_of(snakemake.input.info, loaded, prompter)
    write_activations(
        snakemake.output[0],
        loaded,
        pairs,
        range(len(heads.projections)),
        {**source, "read": params.read, "heads": heads.number},
        progress=True,
        site=heads.site,
    )
