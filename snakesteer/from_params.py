"""What a script works with, from its rule's parameters and inputs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from snakesteer.config import (
    EMBEDDED_MODEL,
    EngineConfig,
    GenerationConfig,
    ModelConfig,
    PromptConfig,
)
from snakesteer.data.problem import Problem, read_problems
from snakesteer.devices import lease_gpu
from snakesteer.engine.interface import Decoding, Engine
from snakesteer.engine.select import engine_record, make_engine, worth_compiling
from snakesteer.errors import UserError
from snakesteer.evaluation import decoding_of
from snakesteer.files import read_json
from snakesteer.models.loading import LoadedModel, device_name, load_model
from snakesteer.params import section
from snakesteer.prompts import Prompter, split_examples

Params = Mapping[str, Any]
T = TypeVar("T")


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


def open_engine(
    params: Params,
    loaded: LoadedModel,
    prompter: Prompter,
    baseline: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine that the config asks for.

    Args:
        params: The rule's parameters, with the leaves of engine, generation and prompt.
        loaded: The model.
        prompter: Its few-shot examples are what all prompts start with.
        baseline: The record of the unsteered answers. What it says of slots and compilation is
            kept, so that steered answers compare with them.
    """
    generation = section(GenerationConfig, "generation", params)
    prompt = section(PromptConfig, "prompt", params)
    return _engine(params, loaded, prompter, decoding_of(generation, prompt), baseline or {})


def open_sampler(
    params: Params, loaded: LoadedModel, prompter: Prompter, temperature: float
) -> Engine:
    """The engine for the model's own solutions: it samples whatever the config says otherwise."""
    prompt = section(PromptConfig, "prompt", params)
    decoding = Decoding(temperature=temperature, stop=tuple(prompt.stop))
    return _engine(params, loaded, prompter, decoding, {})


def _engine(
    params: Params,
    loaded: LoadedModel,
    prompter: Prompter,
    decoding: Decoding,
    baseline: Mapping[str, Any],
) -> Engine:
    engine = section(EngineConfig, "engine", params)
    compiled = baseline.get("compiled")
    if compiled is None:
        compiled = worth_compiling(engine.compile, loaded, params.get("planned_tokens", 0))
    return make_engine(
        engine.name,
        loaded,
        decoding,
        batch_size=engine.batch_size,
        slots=engine.slots or baseline.get("slots"),
        compiled=compiled,
        shared_prefix=prompter.shared_prefix(),
        progress=True,
    )


def settled(engine: Engine, work: Callable[[], T]) -> T:
    """Work whose answers all come from one setting of the engine.

    An engine that runs out of memory goes on with fewer slots. Answers from before and after do not
    compare, so that the work is then done again.

    Args:
        engine: The engine.
        work: What to do with it; gives the same when called again.
    """
    while True:
        before = engine_record(engine)
        result = work()
        if engine_record(engine) == before:
            return result


def run_record(engine: Engine, loaded: LoadedModel) -> dict[str, Any]:
    """What of engine and machine a result depends on: two runs compare only where these agree."""
    return {
        **engine_record(engine),
        "device": loaded.device.type,
        "device_name": device_name(loaded.device),
        "dtype": str(loaded.dtype).removeprefix("torch."),
    }


def check_same_run(baseline: Mapping[str, Any], steered: Mapping[str, Any]) -> None:
    """Refuse to compare steered with unsteered answers that were computed differently.

    Args:
        baseline: The baseline's record (and more).
        steered: From `run_record`.

    Raises:
        UserError: Names what differs.
    """
    different = [key for key, value in steered.items() if baseline.get(key) != value]
    if different:
        text = ", ".join(f"{k} {baseline.get(k)} against {steered[k]}" for k in different)
        raise UserError(
            f"The baseline and the search were not computed alike ({text})",
            "Let all rules run on one kind of machine, and delete baseline/val.jsonl to begin "
            "again there. Where the slots differ, memory ran out: set engine.slots to the smaller "
            "number.",
        )
