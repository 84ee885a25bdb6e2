"""Activations of one split's contrast pairs at all layers."""

from pathlib import Path

from snakesteer.activations import texts_of_pairs, write_activations
from snakesteer.files import read_json
from snakesteer.logs import script_log
from snakesteer.open_model import open_model, open_prompter
from snakesteer.pairs import read_pairs

with script_log(snakemake.log[0]):
    params = snakemake.params
    info = read_json(snakemake.input.info)
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    pairs = read_pairs(snakemake.input.pairs)
    write_activations(
        Path(snakemake.output[0]).parent,
        loaded,
        [pair.id for pair in pairs],
        texts_of_pairs(prompter, pairs, params.read),
        list(params.layers),
        {
            "model": info["name"],
            "commit": info["commit"] or "",
            "dtype": str(loaded.dtype),
            "device": loaded.device.type,
            "read": params.read,
            "template_sha256": prompter.fingerprint(),
        },
        progress=True,
    )
