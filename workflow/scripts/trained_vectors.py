"""Steering vectors that learn: of one layer, or of several together."""

from pathlib import Path

from snakesteer.config import GenerationConfig, TrainingConfig
from snakesteer.config.params import section
from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import open_sampler
from snakesteer.evaluation.trained import Task, train_vectors
from snakesteer.models.open import open_model
from snakesteer.records.files import read_jsonl
from snakesteer.records.logs import script_log
from snakesteer.steering.positions import Positions
from snakesteer.steering.vector import write_vector
from snakesteer.vectors.capture import source_of
from snakesteer.vectors.training.steps import write_steps

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    training = section(TrainingConfig, "training", params)
    loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, rest = open_prompter(params, given.train, loaded.tokenizer)
    layers = list(params.layers)
    solutions = read_jsonl(given.solutions) if given.solutions else []
    positions = Positions(params.scope, params.first_k, params.window, params.tokens)
    source = source_of(given.info, loaded, prompter)
    vectors, learner, told = train_vectors(
        Task(loaded, prompter, rest, solutions, layers, positions),
        training,
        section(GenerationConfig, "generation", params),
        lambda: open_sampler(params, loaded, prompter, training.temperature),
        Path(snakemake.output.log).with_suffix(".checkpoint"),
        {**source, "code": params.code},
    )
    for path, vector in zip(snakemake.output[: len(layers)], vectors, strict=True):
        write_vector(path, vector, {**source, **told, "dose_at_alpha_1": vector.dose(1.0)})
    write_steps(snakemake.output.log, learner.log)
