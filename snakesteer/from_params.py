"""What a script works with, from its rule's parameters and inputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakesteer.config import (
    EMBEDDED_MODEL,
    GenerationConfig,
    ModelConfig,
    PromptConfig,
    section,
)
from snakesteer.data.problem import Problem, read_problems
from snakesteer.engine.interface import Decoding, Engine
from snakesteer.engine.reference import ReferenceEngine
from snakesteer.evaluation import decoding_of
from snakesteer.files import read_json
from snakesteer.models.loading import LoadedModel, load_model
from snakesteer.prompts import Prompter, split_examples

Params = Mapping[str, Any]


def model_section(params: Params, embedded_folder: str) -> ModelConfig:
    """The model section with the embedded model's name replaced by its folder."""
    model = section(ModelConfig, "model", params)
    if model.name != EMBEDDED_MODEL:
        return model
    return model.model_copy(update={"name": embedded_folder})


def open_model(params: Params, info: str | Path, gpus: int, threads: int) -> LoadedModel:
    """Load the model at the commit that the first rule found.

    Args:
        params: The rule's parameters, with the model section's leaves.
        info: ``model/info.json``.
        gpus: GPUs that the workflow granted.
        threads: CPU threads.
    """
    found = read_json(info)
    model = section(ModelConfig, "model", params)
    pinned = {"name": found["name"], "revision": found["commit"] or model.revision}
    return load_model(model.model_copy(update=pinned), gpus, threads)


def open_prompter(
    params: Params, train: str | Path, tokenizer: Any
) -> tuple[Prompter, list[Problem]]:
    """The prompter with its few-shot examples, and the train problems that are not among them."""
    prompt = section(PromptConfig, "prompt", params)
    examples, rest = split_examples(read_problems(train), prompt.shots, prompt.shots_seed)
    return Prompter(prompt, examples, tokenizer), rest


def open_engine(params: Params, loaded: LoadedModel) -> Engine:
    """The engine that the config asks for."""
    generation = section(GenerationConfig, "generation", params)
    prompt = section(PromptConfig, "prompt", params)
    return ReferenceEngine(
        loaded, decoding_of(generation, prompt), generation.batch_size, progress=True
    )


def engine_record(params: Params, loaded: LoadedModel) -> dict[str, Any]:
    """What of engine and machine a result depends on: two runs compare only where these agree."""
    generation = section(GenerationConfig, "generation", params)
    return {
        "engine": "reference",
        "batch_size": generation.batch_size,
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
    }


def open_sampler(params: Params, loaded: LoadedModel, temperature: float) -> Engine:
    """The engine for the model's own solutions: it samples whatever the config says otherwise."""
    generation = section(GenerationConfig, "generation", params)
    prompt = section(PromptConfig, "prompt", params)
    decoding = Decoding(temperature=temperature, stop=tuple(prompt.stop))
    return ReferenceEngine(loaded, decoding, generation.batch_size, progress=True)
