"""The thresholds of all gates, from train texts."""

from snakesteer.config import GateConfig
from snakesteer.data.prompts import open_prompter
from snakesteer.models.open import open_model
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log
from snakesteer.steering.vector import read_vectors
from snakesteer.vectors.capture import source_of
from snakesteer.vectors.gate_scores import find_thresholds

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, rest = open_prompter(params, given.train, loaded.tokenizer)
    gates = [GateConfig(**gate) for gate in params.gates]
    found = find_thresholds(
        loaded, prompter, rest, gates, read_vectors(given.vectors), progress=True
    )
    source = source_of(given.info, loaded, prompter)
    write_json(snakemake.output[0], {**source, "problems": len(rest), "gates": found})
