"""ActAdd's vectors at all layers, from one pair of prompts."""

from snakesteer.data.prompts import open_prompter
from snakesteer.models.open import open_model
from snakesteer.records.logs import script_log
from snakesteer.steering.vector import write_vector
from snakesteer.vectors.actadd import prompt_differences
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.estimate import vector_at

with script_log(snakemake.log[0]):
    params, inputs = snakemake.params, snakemake.input
    loaded = open_model(params, inputs.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, inputs.train, loaded.tokenizer)
    plus, minus = (prompter.encode_start(text) for text in params.prompts)
    found = prompt_differences(loaded, plus, minus, list(params.layers))
    provenance = {"prompts": list(params.prompts), "positions": max(len(plus), len(minus))}
    for layer, path, file in zip(params.layers, snakemake.output, inputs.activations, strict=True):
        activations = read_activations(file)
        vector = vector_at("actadd", found[layer], activations)
        write_vector(path, vector, {**activations.attributes, **provenance})
