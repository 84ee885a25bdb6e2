"""Whether the slots engine runs a model exactly: its structure, and one computation both ways."""

import torch

from snakesteer.engine.slots.attention import Kernel
from snakesteer.engine.slots.cache import KvShape
from snakesteer.engine.slots.exactness import Comparison, compare
from snakesteer.engine.slots.experts import experts_refusal
from snakesteer.engine.slots.rotary import rotary_limit, rotary_refusal, within
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel
from snakesteer.models.precision import is_quantised


class CannotRunExactly(UserError):
    """The slots engine does not run this architecture, or not exactly."""


def supports(loaded: LoadedModel) -> str | None:
    """Why the slots engine cannot run a model exactly, or None if it can."""
    try:
        examine(loaded)
    except CannotRunExactly as reason:
        return reason.problem
    return None


def examine(loaded: LoadedModel, kernel: Kernel = "blocks") -> KvShape:
    """Find out the shape of a model's keys and values, and compare logits with the plain model's.

    Raises:
        CannotRunExactly: Names the reason.
    """
    config = loaded.model.config
    if config.is_encoder_decoder or getattr(config, "add_cross_attention", False):
        raise _refusal(loaded, "it has cross-attention")
    refused = experts_refusal(loaded.model)
    if refused is not None:
        raise _refusal(loaded, refused)
    if is_quantised(loaded):
        # LLM.int8() chooses outlier columns over all rows; of other kernels it is not known.
        raise _refusal(loaded, "its weights are quantised, so that rows may change each other")
    devices = {parameter.device for parameter in loaded.model.parameters()}
    if len(devices) > 1:
        raise _refusal(loaded, "its weights are on several devices")
    refused = rotary_refusal(loaded.model)
    if refused is not None:
        raise _refusal(loaded, refused)
    try:
        shape, comparisons = compare(within(loaded, rotary_limit(loaded)), kernel)
    except torch.OutOfMemoryError:
        raise
    except (
        AttributeError,
        AssertionError,
        IndexError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        # A foreign architecture fails wherever it meets what it did not expect.
        inner = getattr(error, "inner_exception", error)  # torch.compile's say first who raised it
        raise _refusal(loaded, str(inner).partition("\n")[0] or type(inner).__name__) from error
    for one in comparisons:
        if not one.right:
            raise _refusal(loaded, _off(one))
    return shape


def _refusal(loaded: LoadedModel, reason: str) -> CannotRunExactly:
    return CannotRunExactly(
        f"The slots engine cannot run {type(loaded.model).__name__}: {reason}",
        "Set engine.name: reference.",
    )


def _off(one: Comparison) -> str:
    dtype = str(one.dtype).removeprefix("torch.")
    return (
        f"its logits come out {one.error:.2g} off in {dtype}, of which rounding explains "
        f"{one.bound:.2g}"
    )
