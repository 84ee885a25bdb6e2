"""The model and the prompts of a script, from its rule's parameters and inputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakesteer.config import EMBEDDED_MODEL, ModelConfig, PromptConfig
from snakesteer.data.problem import Problem, read_problems
from snakesteer.devices import lease_gpu
from snakesteer.files import read_json
from snakesteer.models.loading import LoadedModel, load_model
from snakesteer.params import section
from snakesteer.prompts import Prompter, split_examples

Params = Mapping[str, Any]


def model_section(params: Params, embedded: Sequence[str]) -> ModelConfig:
    """The model section with the embedded model's name replaced by its folder.

    Args:
        params: The rule's parameters, with the model section's leaves.
        embedded: The embedded model's weight file; empty for other models.
    """
    model = section(ModelConfig, "model", params)
    if model.name != EMBEDDED_MODEL:
        return model
    return model.model_copy(update={"name": str(Path(embedded[0]).parent)})


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
    lease = lease_gpu() if gpus > 0 and model.device in ("auto", "cuda") else None
    return load_model(model.model_copy(update=pinned), gpus, threads, lease)


def open_prompter(
    params: Params, train: str | Path, tokenizer: Any
) -> tuple[Prompter, list[Problem]]:
    """The prompter with its few-shot examples, and the train problems that are not among them."""
    prompt = section(PromptConfig, "prompt", params)
    examples, rest = split_examples(read_problems(train), prompt.shots, prompt.shots_seed)
    return Prompter(prompt, examples, tokenizer), rest


def source_of(info: str | Path, loaded: LoadedModel, prompter: Prompter) -> dict[str, str]:
    """Where activations come from, for the files that hold them.

    Args:
        info: ``model/info.json``.
        loaded: The model that was read.
        prompter: Its prompts' format and examples.
    """
    found = read_json(info)
    return {
        "model": found["name"],
        "commit": found["commit"] or "",
        "dtype": str(loaded.dtype),
        "device": loaded.device.type,
        "template_sha256": prompter.fingerprint(),
    }
