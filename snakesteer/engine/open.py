"""The engine of a script, and whether two scripts' answers may be compared."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from snakesteer.config import EngineConfig, GenerationConfig, PromptConfig
from snakesteer.config.params import Params, section
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding, Engine, Request
from snakesteer.engine.select import engine_record, make_engine, worth_compiling
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.vllm.engine import VllmEngine
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel, device_name
from snakesteer.models.open import open_model

T = TypeVar("T")


def decoding_of(generation: GenerationConfig, prompt: PromptConfig) -> Decoding:
    """The engine's settings that a config asks for."""
    return Decoding(
        temperature=generation.temperature if generation.do_sample else 0.0,
        top_p=generation.top_p,
        top_k=generation.top_k,
        stop=prompt.stops,
    )


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
    prefix = prompter.shared_prefix()
    return _engine(params, loaded, prefix, decoding_of(generation, prompt), baseline or {})


def open_sampler(
    params: Params, loaded: LoadedModel, prompter: Prompter, temperature: float
) -> Engine:
    """The engine for the model's own solutions: it samples whatever the config says otherwise."""
    prompt = section(PromptConfig, "prompt", params)
    decoding = Decoding(temperature=temperature, stop=prompt.stops)
    return _engine(params, loaded, prompter.shared_prefix(), decoding, {})


def open_decoder(params: Params, loaded: LoadedModel, decoding: Decoding) -> Engine:
    """The engine for other prompts than the run's, and another way of decoding."""
    return _engine(params, loaded, (), decoding, {})


def _engine(
    params: Params,
    loaded: LoadedModel,
    shared_prefix: tuple[int, ...],
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
        shared_prefix=shared_prefix,
        progress=True,
        tensor_parallel=engine.tensor_parallel,
        batch_invariant=engine.batch_invariant,
        attention=engine.attention,
    )


def open_answering_model(
    params: Params, info: str | Path, gpus: int, threads: int, reads: bool = False
) -> LoadedModel:
    """The model of a script that answers prompts, see `open_model`.

    vLLM reads the weights itself: there is no second copy of them then.

    Args:
        params: The rule's parameters, with the leaves of model and engine.
        info: ``model/info.json``.
        gpus: GPUs that the workflow granted.
        threads: CPU threads.
        reads: Whether the script also reads texts with the model.
    """
    weights = reads or section(EngineConfig, "engine", params).name != "vllm"
    return open_model(params, info, gpus, threads, weights)


def prepare(engine: Engine, requests: Sequence[Request]) -> None:
    """Make room before the first answer of a run, see `SlotsEngine.prepare`.

    Args:
        engine: The engine.
        requests: One for every validation problem.
    """
    if isinstance(engine, SlotsEngine | VllmEngine):
        engine.prepare(requests)


def busy_share(engine: Engine) -> float | None:
    """Share of its slots that held a request, over the time of all steps; None without slots."""
    if not isinstance(engine, SlotsEngine):
        return None
    work = [one for one in engine.work.values() if one.steps]
    seconds = sum(one.seconds for one in work)
    return sum(one.occupancy(engine.slots) * one.seconds for one in work) / max(seconds, 1e-9)


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
    """What of engine and machine a result depends on, down to its last bits.

    ``threads`` are those of a CPU: sums are rounded by how they are split up.
    """
    on_cpu = loaded.device.type == "cpu"
    return {
        **engine_record(engine),
        "device": loaded.device.type,
        "device_name": device_name(loaded.device),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        **({"threads": torch.get_num_threads()} if on_cpu else {}),
    }


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], file: str | Path) -> None:
    """Refuse to compare answers that were computed differently.

    Another number of threads is let pass, so that a run may go on with other cores.

    Args:
        before: The record of the earlier answers (and more).
        now: From `run_record`.
        file: Where the earlier answers' record is from.

    Raises:
        UserError: Names what differs.
    """
    different = [k for k, value in now.items() if k != "threads" and before.get(k) != value]
    if different:
        text = ", ".join(f"{key} {before.get(key)} against {now[key]}" for key in different)
        raise UserError(
            f"The answers of {file} and those to compare with them were not computed alike "
            f"({text})",
            f"Let all rules run on one kind of machine, delete {file} and run snakemake again. "
            "Where the slots differ, memory ran out: set engine.slots to the smaller number.",
        )
