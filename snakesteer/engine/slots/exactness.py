"""One computation both ways: by the plain model, and by shared prefix, prompt pass and slots.

Every part that may be at fault shows in what is computed: two texts, read in one batch, are longer
than the shared prefix, than one block of keys and than a sliding window, another shared prefix lies
beside theirs, and two slots read them from different positions, one of them from the end of a block
on, under different steering at different layers, one for its first step only, one at a strength of
its own for every step. It is done in float32, where rounding explains next to nothing, with the
weights converted for the while, and again in the model's dtype, where logits may be about as far
from those in float32 as the plain model's are. This last measure has luck in it (a mixture of
experts whose router rounds the other way at one token says something else there), and a fault has
none: an engine that is off in reduced precision alone gets another pair of texts.
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

_SHARED = 13  # tokens of the shared prefix
_PLACE = 1  # where it lies; what lies at 0 belongs to nobody
_SLOTS = 4
_CHANGES = (0.8, 1.0, -0.6)  # factors on the strength of a row whose strength changes
_STEPS = len(_CHANGES)
_TRIES = 3  # pairs of texts
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
        text: Token ids.
        start: Position of the token that it reads first.
        steering: How it is steered.
        changes: What the strength is multiplied with at every step.
    """

    slot: int
    text: Sequence[int]
    start: int
    steering: ResidualSteering
    changes: tuple[float, ...]

    @property
    def end(self) -> int:
        """The first position that it does not read."""
        return self.start + len(self.changes)

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
        for seed in range(_TRIES):
            shape, comparisons = _compare(loaded, kernel, _task(loaded, window, seed))
            if not comparisons[0].right or all(one.right for one in comparisons):
                break
    return shape, comparisons


def _compare(
    loaded: LoadedModel, kernel: Kernel, rows: Sequence[_Row]
) -> tuple[KvShape, list[Comparison]]:
    with in_float32(loaded) as wide:
        wanted = _plain(wide, rows)
        shape, found = _with_slots(wide, rows, kernel)
    comparisons = [Comparison(torch.float32, logits_error(found, wanted), FLOAT32_BOUND)]
    if loaded.dtype != torch.float32:
        own = logits_error(_plain(loaded, rows), wanted)
        shape, found = _with_slots(loaded, rows, kernel)
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


def _task(loaded: LoadedModel, window: int, seed: int) -> list[_Row]:
    """Who reads what from where, in the order of their turns."""
    config = loaded.model.config.get_text_config()
    last = max(_SHARED + BLOCK + 3, window + _STEPS)
    if loaded.context is not None:
        last = min(last, loaded.context - _STEPS)
    first = min(_SHARED + BLOCK - 1, last - 1)
    generator = torch.Generator().manual_seed(seed)
    texts = torch.randint(config.vocab_size, (2, last + _STEPS), generator=generator)
    texts[1, : _shared(first)] = texts[0, : _shared(first)]
    one, other = texts.tolist()
    depth = len(loaded.blocks)
    layers = (depth // 3, 2 * depth // 3)
    directions = torch.randn(2, config.hidden_size, generator=generator)
    early, late = (
        ResidualSteering(layer, direction, alpha / float(direction.norm()))
        for layer, direction, alpha in zip(
            layers, directions, _norms(loaded, one[:_LOOK], layers), strict=True
        )
    )
    return [
        _Row(2, one, first, replace(early, scope="first_k", first_k=1), (1.0, 1.0)),
        _Row(3, other, last, replace(late, scope="generated_only"), _CHANGES),
    ]


def _shared(first: int) -> int:
    """How many tokens are the shared prefix, where no row starts before a position."""
    return min(_SHARED, first // 2)


def _norms(loaded: LoadedModel, text: Sequence[int], layers: Sequence[int]) -> list[float]:
    """How long the residual stream is behind some layers, at the end of a text."""
    found: dict[int, float] = {}

    def look(layer: int, hidden: Tensor) -> None:
        found[layer] = float(hidden[0, -1].float().norm())

    with on_block_outputs(loaded.blocks, {layer: partial(look, layer) for layer in layers}):
        _logits(loaded, text)
    return [found[layer] for layer in layers]


def _plain(loaded: LoadedModel, rows: Sequence[_Row]) -> Tensor:
    """Logits ``[steps of all rows, vocab]`` of HuggingFace's model, which reads a text at once."""
    found = []
    for row in rows:
        strengths = [0.0] * row.start + [row.strength(at) for at in range(row.start, row.end)]
        factors = torch.tensor(strengths, device=loaded.device)[:, None]
        change = (factors * row.steering.vector.to(loaded.device)).to(loaded.dtype)
        with on_block_outputs(loaded.blocks, {row.steering.layer: partial(torch.add, change)}):
            found.append(_logits(loaded, row.text[: row.end], len(row.changes)))
    return torch.cat(found)


def _logits(loaded: LoadedModel, text: Sequence[int], last: int = 1) -> Tensor:
    """Logits ``[last, vocab]`` behind the last tokens of a text."""
    ids = torch.tensor([text], device=loaded.device)
    output = loaded.model(
        ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=last
    )
    return output.logits[0, -last:].float()


def _with_slots(
    loaded: LoadedModel, rows: Sequence[_Row], kernel: Kernel
) -> tuple[KvShape, Tensor]:
    """The same logits, where a shared prefix, a batch of prompts and slots read the texts."""
    rows_steering = RowSteering(loaded.blocks)
    shared = _shared(rows[0].start)
    last = rows[-1].start
    blocks = -(-(rows[-1].end - shared) // BLOCK)
    with slot_attention(loaded.model, kernel), rows_steering.hooked():
        prefill = Prefill(loaded, rows_steering, rows[0].text[:shared], None)
        prefill.tokens = len(rows) * prefill.width(last + 1)  # in one batch
        assert prefill.prefix is not None
        layers, _, heads, _, width = prefill.prefix.shape
        if layers != len(loaded.blocks):
            raise NotImplementedError(f"only {layers} of its {len(loaded.blocks)} layers have keys")
        shape = KvShape(layers, heads, width, prefill.prefix.dtype)
        capacity = Capacity(_SLOTS, blocks, shared, steps=_STEPS)
        decoder = SlotDecoder(loaded, Decoding(), rows_steering, shape, capacity)
        assert decoder.cache.shared is not None
        decoder.cache.shared[:, :, 0] = -prefill.prefix
        decoder.cache.shared[:, :, _PLACE] = prefill.prefix
        # Who starts early finds what was read behind its start, and must not see it.
        prompts = prefill.read([row.text[: last + 1] for row in rows])
        found = []
        # One after the other, as the first one needs fewer blocks at first; where all are looked at
        # nevertheless, as for a neighbour, it must not see the last ones.
        for row, prompt in zip(rows, prompts, strict=True):
            decoder.fill(row.slot, prompt)
            for step in range(len(row.changes)):
                decoder.start([_slot_start(row, step)])
                decoder.step.fill_(step)
                needed = decoder.blocks_for(row.start + step + 1 - shared)
                logits = decoder.logits(needed if step % 2 else blocks)
                found.append(logits[row.slot].float())
    return shape, torch.stack(found)


def _slot_start(row: _Row, step: int) -> SlotStart:
    at = row.start + step
    changed = replace(row.steering, alpha=row.steering.alpha * row.changes[step])
    return SlotStart(row.slot, row.text[at], at, steering=changed, prefix=_PLACE)
