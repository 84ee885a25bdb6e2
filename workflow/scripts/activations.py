"""Activations of one split's contrast pairs at all layers."""

from pathlib import Path

from snakesteer.data.prompts import open_prompter
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
    write_activations(
        Path(snakemake.output[0]).parent,
        loaded,
        pairs,
        list(params.layers),
        {**source_of(snakemake.input.info, loaded, prompter), "read": params.read},
        progress=True,
    )
