"""The engine of a script, and whether two scripts' answers may be compared."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from snakesteer.config import EngineConfig, GenerationConfig, PromptConfig
from snakesteer.engine.interface import Decoding, Engine
from snakesteer.engine.select import engine_record, make_engine, worth_compiling
from snakesteer.errors import UserError
from snakesteer.evaluation import decoding_of
from snakesteer.models.loading import LoadedModel, device_name
from snakesteer.open_model import Params
from snakesteer.params import section
from snakesteer.prompts import Prompter

T = TypeVar("T")


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
            f"Unsteered and steered answers were not computed alike ({text})",
            "Let all rules run on one kind of machine, and delete baseline/val.jsonl to begin "
            "again there. Where the slots differ, memory ran out: set engine.slots to the smaller "
            "number.",
        )
