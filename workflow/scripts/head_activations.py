"""Outputs of all attention heads on one split's contrast pairs."""

from snakesteer.data.prompts import open_prompter
from snakesteer.models.heads import find_heads
from snakesteer.models.open import open_model
from snakesteer.records.logs import script_log
from snakesteer.vectors.capture import source_of, texts_of_pairs, write_activations
from snakesteer.vectors.pairs import read_pairs

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    pairs = read_pairs(snakemake.input.pairs)
    heads = find_heads(loaded.model)
    source = source_of(snakemake.input.info, loaded, prompter)
    write_activations(
        snakemake.output[0],
        loaded,
        [pair.id for pair in pairs],
        texts_of_pairs(prompter, pairs, params.read),
        range(len(heads.projections)),
        {**source, "read": params.read, "heads": heads.number},
        progress=True,
        site=heads.site,
    )
