"""One computation both ways: by the plain model, and by shared prefix, prompt pass and slots.

Every part that may be at fault shows in what is computed: the text is longer than the shared
prefix, than one block of keys and than a sliding window, and two slots read it from different
positions, under different steering at different layers, one for its first steps only, one at a
strength of its own for every step. It is done in float32, where rounding explains next to nothing,
with the weights converted for the while, and again in the model's dtype, where logits may be about
as far from those in float32 as the plain model's are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from snakesteer.engine.interface import Decoding
from snakesteer.engine.slots.attention import BLOCK, Kernel, slot_attention
from snakesteer.engine.slots.cache import KvShape
from snakesteer.engine.slots.capacity import Capacity
from snakesteer.engine.slots.decode import SlotDecoder, SlotStart
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.engine.slots.rows import RowSteering
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.models.precision import FLOAT32_BOUND, OWN_ERRORS, in_float32, logits_error
from snakesteer.steering.residual import ResidualSteering

_SHARED = 29  # tokens of the shared prefix
_STEPS = 3
_SLOTS = 4
_CHANGES = (0.8, 1.0, -0.6)  # factors on the strength of a row whose strength changes
_LOOK = 8  # tokens, at whose end the length of the residual stream is looked up
# A larger sliding window is made small for the while: to read past it would take too long.
_LONGEST_WINDOW = {"cuda": 4096}
_LONGEST_ELSEWHERE = 64
_SMALL_WINDOW = 24


@dataclass(frozen=True)
class Comparison:
    """How far the slots' logits are off in one dtype.

    Attributes:
        dtype: That it was computed in.
        error: See `snakesteer.models.precision.logits_error`.
        bound: What rounding explains.
    """

    dtype: torch.dtype
    error: float
    bound: float

    @property
    def right(self) -> bool:
        """Whether rounding explains the error; it does not explain NaN."""
        return self.error <= self.bound


@dataclass(frozen=True, eq=False)
class _Row:
    """A slot that reads a text.

    Attributes:
        slot: Which one.
        start: Position of the token that it reads first.
        steering: How it is steered.
        changes: What the strength is multiplied with at every step.
    """

    slot: int
    start: int
    steering: ResidualSteering
    changes: tuple[float, ...]

    def strength(self, position: int) -> float:
        """The factor on the vector at a position."""
        step = position - self.start
        return self.steering.alpha * self.changes[step] if self.steering.steers_step(step) else 0.0


@torch.inference_mode()
def compare(loaded: LoadedModel, kernel: Kernel = "blocks") -> tuple[KvShape, list[Comparison]]:
    """Compute logits both ways.

    Returns:
        The shape of the model's keys and values, and one comparison a dtype, float32 first.
    """
    with _affordable_window(loaded) as window:
        text, rows = _task(loaded, window)
        with in_float32(loaded) as wide:
            wanted = _plain(wide, text, rows)
            shape, found = _with_slots(wide, text, rows, kernel)
        comparisons = [Comparison(torch.float32, logits_error(found, wanted), FLOAT32_BOUND)]
        if loaded.dtype != torch.float32:
            own = logits_error(_plain(loaded, text, rows), wanted)
            shape, found = _with_slots(loaded, text, rows, kernel)
            error = logits_error(found, wanted)
            comparisons.append(Comparison(loaded.dtype, error, OWN_ERRORS * own))
    return shape, comparisons


@contextmanager
def _affordable_window(loaded: LoadedModel) -> Iterator[int]:
    """The model's sliding window, or a small one where it is too large; 0 without one.

    HuggingFace makes masks from the config in every pass, for this engine as for its own.
    """
    config = loaded.model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if not window or window <= _LONGEST_WINDOW.get(loaded.device.type, _LONGEST_ELSEWHERE):
        yield window or 0
        return
    config.sliding_window = _SMALL_WINDOW
    try:
        yield _SMALL_WINDOW
    finally:
        config.sliding_window = window


def _task(loaded: LoadedModel, window: int) -> tuple[list[int], list[_Row]]:
    """A text, and who reads it from where."""
    config = loaded.model.config.get_text_config()
    last = max(_SHARED + BLOCK + 3, window + _STEPS)
    if loaded.context is not None:
        last = min(last, loaded.context - _STEPS)
    first = min(_SHARED + 6, last // 2 + 1)
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(config.vocab_size, (last + _STEPS,), generator=generator).tolist()
    depth = len(loaded.blocks)
    layers = (depth // 3, 2 * depth // 3)
    directions = torch.randn(2, config.hidden_size, generator=generator)
    early, late = (
        ResidualSteering(layer, direction, alpha / float(direction.norm()))
        for layer, direction, alpha in zip(
            layers, directions, _norms(loaded, text[:_LOOK], layers), strict=True
        )
    )
    return text, [
        _Row(2, first, replace(early, scope="first_k", first_k=2), (1.0,) * _STEPS),
        _Row(3, last, replace(late, scope="generated_only"), _CHANGES),
    ]


def _norms(loaded: LoadedModel, text: Sequence[int], layers: Sequence[int]) -> list[float]:
    """How long the residual stream is behind some layers, at the end of a text."""
    found: dict[int, float] = {}

    def look(layer: int, hidden: Tensor) -> None:
        found[layer] = float(hidden[0, -1].float().norm())

    with on_block_outputs(loaded.blocks, {layer: partial(look, layer) for layer in layers}):
        _logits(loaded, text)
    return [found[layer] for layer in layers]


def _plain(loaded: LoadedModel, text: Sequence[int], rows: Sequence[_Row]) -> Tensor:
    """Logits ``[rows · _STEPS, vocab]`` of HuggingFace's model, which reads each text at once."""
    found = []
    for row in rows:
        end = row.start + _STEPS
        strengths = [0.0] * row.start + [row.strength(at) for at in range(row.start, end)]
        factors = torch.tensor(strengths, device=loaded.device)[:, None]
        change = (factors * row.steering.vector.to(loaded.device)).to(loaded.dtype)
        with on_block_outputs(loaded.blocks, {row.steering.layer: partial(torch.add, change)}):
            found.append(_logits(loaded, text[:end]))
    return torch.cat(found)


def _logits(loaded: LoadedModel, text: Sequence[int]) -> Tensor:
    """Logits ``[_STEPS, vocab]`` behind the last tokens of a text."""
    ids = torch.tensor([text], device=loaded.device)
    output = loaded.model(
        ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=_STEPS
    )
    return output.logits[0, -_STEPS:].float()


def _with_slots(
    loaded: LoadedModel, text: Sequence[int], rows: Sequence[_Row], kernel: Kernel
) -> tuple[KvShape, Tensor]:
    """The same logits, where a shared prefix, a prompt and slots read the text."""
    rows_steering = RowSteering(loaded.blocks)
    shared = min(_SHARED, rows[-1].start // 2)
    blocks = -(-(len(text) - shared) // BLOCK)
    with slot_attention(loaded.model, kernel), rows_steering.hooked():
        prefill = Prefill(loaded, rows_steering, text[:shared], None)
        prefill.tokens = blocks * BLOCK  # one prompt alone
        assert prefill.prefix is not None
        layers, _, heads, _, width = prefill.prefix.shape
        if layers != len(loaded.blocks):
            raise NotImplementedError(f"only {layers} of its {len(loaded.blocks)} layers have keys")
        shape = KvShape(layers, heads, width, prefill.prefix.dtype)
        capacity = Capacity(_SLOTS, blocks, shared, steps=_STEPS)
        decoder = SlotDecoder(loaded, Decoding(), rows_steering, shape, capacity)
        assert decoder.cache.shared is not None
        decoder.cache.shared[:, :, 0] = prefill.prefix
        # Who starts early finds what the other one has read behind its start, and must not see it.
        prompt = prefill.read([text[: rows[-1].start + 1]])[0]
        for row in rows:
            decoder.fill(row.slot, prompt)
        steps = []
        for step in range(_STEPS):
            decoder.start([_slot_start(row, text, step) for row in rows])
            decoder.step.fill_(step)
            logits = decoder.logits(used=blocks)
            steps.append(torch.stack([logits[row.slot] for row in rows]).float())
    return shape, torch.stack(steps, dim=1).flatten(0, 1)  # [rows · _STEPS, vocab]


def _slot_start(row: _Row, text: Sequence[int], step: int) -> SlotStart:
    position = row.start + step
    changed = replace(row.steering, alpha=row.steering.alpha * row.changes[step])
    return SlotStart(row.slot, text[position], position, steering=changed)
