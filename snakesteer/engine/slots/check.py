"""Whether the slots engine runs a model exactly: its structure, and one computation both ways."""

from typing import Any

import torch
from torch import Tensor

from snakesteer.engine.interface import Decoding
from snakesteer.engine.slots.attention import slot_attention
from snakesteer.engine.slots.cache import KvShape
from snakesteer.engine.slots.capacity import Capacity
from snakesteer.engine.slots.decode import SlotDecoder, SlotStart
from snakesteer.engine.slots.experts import experts_refusal
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.engine.slots.rows import RowSteering
from snakesteer.errors import UserError
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.residual import ResidualSteering

# Relative error of logits that rounding explains; a wrong mask or position gives errors near 1.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}
_LENGTH, _SHARED, _READ, _SLOTS = 24, 5, 12, 4

_ROPE_BY_BATCH = {"dynamic", "longrope"}


class CannotRunExactly(UserError):
    """The slots engine does not run this architecture, or not exactly."""


def supports(loaded: LoadedModel) -> str | None:
    """Why the slots engine cannot run a model exactly, or None if it can."""
    try:
        examine(loaded)
    except CannotRunExactly as reason:
        return reason.problem
    return None


@torch.inference_mode()
def examine(loaded: LoadedModel) -> KvShape:
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
    # GGUF files are unpacked when they are read.
    if getattr(loaded.model, "quantization_method", None) not in (None, "gguf"):
        # LLM.int8() chooses outlier columns over all rows; of other kernels it is not known.
        raise _refusal(loaded, "its weights are quantised, so that rows may change each other")
    devices = {parameter.device for parameter in loaded.model.parameters()}
    if len(devices) > 1:
        raise _refusal(loaded, "its weights are on several devices")
    if _rope_types(getattr(config.get_text_config(), "rope_parameters", None)) & _ROPE_BY_BATCH:
        raise _refusal(loaded, "its rotary embedding changes with the longest text of a batch")
    length = _LENGTH if loaded.context is None else min(_LENGTH, loaded.context)
    vocabulary = config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (length,), generator=generator).tolist()
    vector = torch.randn(config.get_text_config().hidden_size, generator=generator)
    steering = ResidualSteering(layer=len(loaded.blocks) // 2, vector=vector, alpha=1.0)
    wanted = _plain(loaded, ids, steering)
    try:
        shape, logits = _with_slots(loaded, ids, steering)
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
        raise _refusal(loaded, str(error).partition("\n")[0] or type(error).__name__) from error
    difference = ((logits - wanted).norm() / wanted.norm()).item()
    if not difference <= _TOLERANCE.get(loaded.dtype, 1e-3):
        raise _refusal(loaded, f"its logits come out {difference:.2g} off")
    return shape


def _rope_types(parameters: Any) -> set[str]:
    """Kinds of rotary embedding in a config's parameters, which may be given per layer type."""
    if not isinstance(parameters, dict):
        return set()
    nested = set[str]().union(*(_rope_types(value) for value in parameters.values()))
    return nested | ({parameters["rope_type"]} if "rope_type" in parameters else set())


def _refusal(loaded: LoadedModel, reason: str) -> CannotRunExactly:
    return CannotRunExactly(
        f"The slots engine cannot run {type(loaded.model).__name__}: {reason}",
        "Set engine.name: reference.",
    )


def _plain(loaded: LoadedModel, ids: list[int], steering: ResidualSteering) -> Tensor:
    """Logits ``[length - _READ + 1, vocab]`` of a text that is steered from a position on."""
    delta = steering.delta().to(loaded.device, loaded.dtype)
    steered = (torch.arange(len(ids), device=loaded.device) >= _READ - 1)[:, None]

    def add(hidden: Tensor) -> Tensor:
        return hidden + delta * steered

    with on_block_outputs(loaded.blocks, {steering.layer: add}):
        text = torch.tensor([ids], device=loaded.device)
        output = loaded.model(text, attention_mask=torch.ones_like(text), use_cache=False)
    return output.logits[0, _READ - 1 :].float()


def _with_slots(
    loaded: LoadedModel, ids: list[int], steering: ResidualSteering
) -> tuple[KvShape, Tensor]:
    """The same logits, where a shared prefix, a prompt and a slot read the text."""
    rows_steering = RowSteering(loaded.blocks)
    with slot_attention(loaded.model), rows_steering.hooked():
        prefill = Prefill(loaded, rows_steering, ids[:_SHARED], None)
        assert prefill.prefix is not None
        layers, _, heads, _, width = prefill.prefix.shape
        if layers != len(loaded.blocks):
            raise NotImplementedError(f"only {layers} of its {len(loaded.blocks)} layers have keys")
        shape = KvShape(layers, heads, width, prefill.prefix.dtype)
        capacity = Capacity(_SLOTS, blocks=1, shared=_SHARED, steps=1)
        decoder = SlotDecoder(loaded, Decoding(), rows_steering, shape, capacity)
        assert decoder.cache.shared is not None
        decoder.cache.shared.copy_(prefill.prefix)
        slot = _SLOTS - 1
        decoder.cache.fill(slot, prefill.read([ids[:_READ]])[0])
        rows = []
        for position in range(_READ - 1, len(ids)):
            start = SlotStart(slot, ids[position], position, slot, 0, steering, steering.alpha)
            decoder.start([start], [])
            rows.append(decoder.logits(used=1)[slot])
    return shape, torch.stack(rows).float()
