"""Which engine answers, and with which settings that are part of a result."""

import logging
from collections.abc import Sequence
from typing import Literal

from snakesteer.engine.interface import Decoding, Engine
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.reference.padding import check_padding
from snakesteer.engine.slots.attention import Kernel
from snakesteer.engine.slots.check import CannotRunExactly
from snakesteer.engine.slots.count import MIN_SLOTS
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.vllm.engine import VllmEngine
from snakesteer.models.loading import LoadedModel

logger = logging.getLogger(__name__)

EngineName = Literal["slots", "reference", "vllm"]
Compile = Literal["auto", "never", "always"]

# Compiling the decode step takes about 40 s and saves about a quarter of its time.
_WORTH_COMPILING_S = 160.0
# Floating-point operations per second that the eager step reaches on one H100 (1.1B parameters).
_EAGER_FLOPS = 1.8e14


def make_engine(
    name: EngineName,
    loaded: LoadedModel,
    decoding: Decoding,
    *,
    batch_size: int,
    slots: int | None = None,
    compiled: bool = False,
    shared_prefix: Sequence[int] = (),
    progress: bool = False,
    tensor_parallel: int = 1,
    batch_invariant: bool = False,
    attention: Kernel = "blocks",
) -> Engine:
    """The engine asked for, or the reference engine where the slots engine would not be exact.

    Args:
        name: The engine asked for.
        loaded: The model.
        decoding: How tokens are chosen.
        batch_size: Of the reference engine.
        slots: Of the slots engine, and most requests in a step of vLLM; None chooses.
        compiled: See `worth_compiling`.
        shared_prefix: See `SlotsEngine`.
        progress: Show a progress bar.
        tensor_parallel: See `VllmEngine`.
        batch_invariant: Likewise.
        attention: Of the slots engine's decode steps; where flex_attention cannot be had, or is
            wrong, ``blocks`` is taken.

    Raises:
        UserError: Too few slots, or a batch of a model that takes padding for text.
    """
    if name == "vllm":
        return VllmEngine(loaded, decoding, tensor_parallel, batch_invariant, slots, progress)
    if name == "slots":
        instead: dict[Kernel, str] = {
            "flex": "Plain operations (engine.attention: blocks) take the place of flex_attention",
            "blocks": "The reference engine, which is slower, runs it",
        }
        kernels: tuple[Kernel, ...] = ("flex", "blocks")
        for kernel in kernels if attention == "flex" else kernels[1:]:
            try:
                return SlotsEngine(
                    loaded, decoding, slots, compiled, shared_prefix, progress, kernel
                )
            except CannotRunExactly as reason:
                logger.warning("%s. %s.", reason.problem, instead[kernel])
    if batch_size > 1:
        check_padding(loaded)
    return ReferenceEngine(loaded, decoding, batch_size, progress)


def engine_record(engine: Engine) -> dict[str, str | int | bool]:
    """What of an engine belongs to a result: compare only results with equal records."""
    if isinstance(engine, SlotsEngine):
        return {
            "engine": "slots",
            "slots": engine.slots,
            "compiled": engine.compiled,
            "shared_prefix_tokens": len(engine.shared_prefix),
            "attention": engine.kernel,
        }
    if isinstance(engine, VllmEngine):
        return engine.record
    assert isinstance(engine, ReferenceEngine)
    return {"engine": "reference", "batch_size": engine.batch_size}


def promises_bits(engine: Engine) -> bool:
    """Whether equal requests get equal bits, whatever else is computed with them."""
    return not isinstance(engine, VllmEngine) or engine.batch_invariant


def halve(engine: Engine) -> bool:
    """Let an engine compute half as many requests at a time from now on.

    Its answers from then on are rounded otherwise, and do not compare with those from before.

    Returns:
        Whether it can; nothing changes where it cannot.
    """
    if isinstance(engine, SlotsEngine | VllmEngine):
        possible = engine.slots // 2 >= (MIN_SLOTS if isinstance(engine, SlotsEngine) else 1)
        engine.slots //= 2 if possible else 1
        return possible
    assert isinstance(engine, ReferenceEngine)
    possible = engine.batch_size > 1
    engine.batch_size //= 2 if possible else 1
    return possible


def worth_compiling(setting: Compile, loaded: LoadedModel, planned_tokens: int) -> bool:
    """Whether the decode step of a whole run is compiled.

    Compiled and plain results differ in their last bits, so that a run decides once, from all that
    it plans to generate, and never by what one call holds.

    Args:
        setting: From the config.
        loaded: The model.
        planned_tokens: New tokens of the whole run, all trials and splits together.
    """
    if setting != "auto":
        return setting == "always"
    if loaded.device.type != "cuda":
        return False
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    return 2 * parameters * planned_tokens / _EAGER_FLOPS > _WORTH_COMPILING_S
