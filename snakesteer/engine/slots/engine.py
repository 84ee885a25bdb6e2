"""The slots engine: a fixed number of slots decoded together, refilled from a queue.

Every step computes all slots, whatever they hold, so that a row's result depends on neither its
neighbours nor its slot. It does depend on the number of slots, in the last bits, and in reduced
precision therefore in tokens: the number is part of a result, and only what ran with one number may
be compared.

A prompt is read once for all requests that share it, and the tokens that all prompts start with are
read once for all prompts. Requests whose steering reaches prompt positions (scope ``all``) bring
their own prompt pass, and run by themselves, a steering at a time.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from snakesteer.config import Operator
from snakesteer.engine.batching import check_lengths
from snakesteer.engine.interface import Decoding, Finish, Generation, Request
from snakesteer.engine.slots.attention import BLOCK, slot_attention
from snakesteer.engine.slots.check import examine
from snakesteer.engine.slots.count import MIN_SLOTS, choose_slots, kept_bytes
from snakesteer.engine.slots.decode import Row, SlotDecoder, Streams
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.engine.slots.rows import RowSteering
from snakesteer.engine.slots.store import PromptStore
from snakesteer.engine.stopping import StopRule
from snakesteer.engine.watch import Watch, watched
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.residual import Steering

logger = logging.getLogger(__name__)

TICKS_ON_GPU = 8  # steps between two looks at the tokens; even, as DAC takes two ticks a token


@dataclass(eq=False)
class _Live:
    """A request that is being decoded.

    Attributes:
        index: Of the request.
        slots: Its slots; the first one's tokens count.
        position: Of the token read next.
        tokens: Chosen so far.
    """

    index: int
    slots: list[int]
    position: int
    tokens: list[int] = field(default_factory=list)


class SlotsEngine:
    """Answers requests with continuous batching over a fixed number of slots.

    Args:
        loaded: The model.
        decoding: How tokens are chosen.
        slots: Number of slots; None chooses by device and memory, see `choose_slots`.
        compiled: Run the decode step through ``torch.compile``.
        shared_prefix: Token ids that prompts start with, see `common_prefix`. Part of a result,
            like the number of slots. A prompt that starts otherwise is answered without it.
        progress: Show a progress bar on the terminal.

    Attributes:
        slots: Number of slots. Halved where a call runs out of memory on the GPU.
        steps: Decode steps so far.
        step_seconds: Time that they took, reading their tokens included.
        watch: Who looks on, if anyone; set before the first call.

    Raises:
        CannotRunExactly: An architecture that only the reference engine runs.
        UserError: Too few slots.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        decoding: Decoding,
        slots: int | None = None,
        compiled: bool = False,
        shared_prefix: Sequence[int] = (),
        progress: bool = False,
    ) -> None:
        self.shape = examine(loaded)
        self.loaded = loaded
        self.decoding = decoding
        self.compiled = compiled
        self.progress = progress
        self.shared_prefix = tuple(shared_prefix)
        self.slots = choose_slots(loaded, self.shape) if slots is None else slots
        if self.slots < MIN_SLOTS:
            raise UserError(
                f"The slots engine needs at least {MIN_SLOTS} slots, not {self.slots}",
                "Raise engine.slots, or leave it out.",
            )
        self.stop_rule = StopRule(loaded.tokenizer, loaded.eos_ids, decoding.stop)
        self.steering = RowSteering(loaded.blocks)
        self.ticks = TICKS_ON_GPU if loaded.device.type == "cuda" else 1
        self.watch: Watch | None = None
        self.steps = 0
        self.step_seconds = 0.0
        self._decoder: SlotDecoder | None = None
        self._stores: dict[int, PromptStore] = {}  # length of the shared prefix → unsteered prompts
        self._may_end: dict[int, bool] = {}

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Generate one text per request, in their order.

        If the GPU runs out of memory, the whole call is done again with half the slots, so that
        its results come from one number of slots.

        Raises:
            UserError: A prompt that does not fit into the model's context with its answer, or too
                little memory for the smallest number of slots.
        """
        check_lengths(self.loaded, requests)
        while True:
            try:
                with self._running():
                    return self._generate(requests)
            except torch.OutOfMemoryError as error:
                self._decoder = None
                self._stores.clear()
                if self.slots // 2 < MIN_SLOTS:
                    raise UserError(
                        f"{self.slots} slots do not fit into the GPU's memory",
                        "Lower generation.max_new_tokens or prompt.shots, or use a smaller model.",
                    ) from error
                self.slots //= 2
            torch.cuda.empty_cache()
            logger.warning("out of memory: starting again with %d slots", self.slots)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """The model as the engine needs it; as it was when the context closes."""
        with (
            torch.inference_mode(),
            slot_attention(self.loaded.model),
            watched(self.watch, self.steering.hooked()),
        ):
            yield

    def _generate(self, requests: Sequence[Request]) -> list[Generation]:
        results: list[Generation | None] = [None] * len(requests)
        waves: dict[tuple[object, int], list[int]] = {}
        for index, request in enumerate(requests):
            ids = request.prompt_ids
            starts = len(ids) > len(self.shared_prefix) and (
                ids[: len(self.shared_prefix)] == self.shared_prefix
            )
            shared = len(self.shared_prefix) if starts else 0
            waves.setdefault((_prompt_steering(request), shared), []).append(index)
        hidden = None if self.progress else True  # None hides it where no one looks at a terminal
        with tqdm(total=len(requests), unit="text", disable=hidden, leave=False) as bar:
            for (_, shared), members in waves.items():
                self._run_wave(requests, members, shared, results, bar)
        return [result for result in results if result is not None]

    def _run_wave(
        self,
        requests: Sequence[Request],
        members: list[int],
        shared: int,
        results: list[Generation | None],
        bar: tqdm,
    ) -> None:
        """Answer requests whose prompts are read in the same way."""
        store = self._store(requests[members[0]], shared)
        decoder = self._decoder_for([requests[index] for index in members], shared)
        if shared:
            assert decoder.cache.shared is not None
            assert store.prefill.prefix is not None
            decoder.cache.shared.copy_(store.prefill.prefix)
        first_seen: dict[tuple[int, ...], int] = {}
        for index in members:
            first_seen.setdefault(requests[index].prompt_ids, len(first_seen))
        members = sorted(
            members,
            key=lambda index: (
                store.prefill.blocks(len(requests[index].prompt_ids)),
                first_seen[requests[index].prompt_ids],
            ),
        )
        store.expect([requests[index].prompt_ids for index in members])
        queue = deque(members)
        free = list(range(self.slots))
        live: list[_Live] = []
        decoder.dac = any(requests[index].is_dac for index in members)
        decoder.kinds = _kinds([requests[index] for index in members])
        decoder.stop(free)
        while queue or live:
            live += self._refill(decoder, store, requests, queue, free)
            if self.watch is not None:
                self.watch.follow({one.index: one.slots for one in live})
            last = max(one.position for one in live) + self.ticks
            started = time.perf_counter()
            tokens = decoder.run(self.ticks, self._used(decoder, last - shared))
            self.step_seconds += time.perf_counter() - started
            self.steps += self.ticks
            ended = []
            for one in live:
                request = requests[one.index]
                finish = self._extend(one, [row[one.slots[0]] for row in tokens], request)
                if finish is not None:
                    results[one.index] = self.stop_rule.generation(one.tokens, finish)
                    ended.append(one)
            for one in ended:
                live.remove(one)
                free += one.slots
            decoder.stop([slot for one in ended for slot in one.slots])
            bar.update(len(ended))

    def _store(self, request: Request, shared: int) -> PromptStore:
        """Prompts under this request's prompt steering, behind this prefix."""
        steered = _residual(request) if _prompt_steering(request) else None
        if steered is None and shared in self._stores:
            return self._stores[shared]
        prefill = Prefill(
            self.loaded, self.steering, request.prompt_ids[:shared], steered, self.watch
        )
        if steered is not None:
            return PromptStore(prefill, limit=0)
        self._stores[shared] = PromptStore(prefill, kept_bytes(self.loaded.device))
        return self._stores[shared]

    def _decoder_for(self, requests: list[Request], shared: int) -> SlotDecoder:
        """The decoder of the last call if these requests fit into it, else a new one."""
        longest = max(len(r.prompt_ids) + r.max_new_tokens - 1 for r in requests)
        blocks = -(-(longest - shared) // BLOCK)
        steps = max(request.max_new_tokens for request in requests)
        steerings = [_residual(request) for request in requests]
        places = max(1 if steering is None else len(steering.places) for steering in steerings)
        if self._decoder is None or not self._decoder.fits(blocks, shared, steps, places):
            self._decoder = None  # its memory first
            self._decoder = SlotDecoder(
                self.loaded,
                self.decoding,
                self.steering,
                self.shape,
                self.slots,
                blocks,
                shared,
                steps,
                places,
                self.compiled,
                self.watch,
            )
        return self._decoder

    def _refill(
        self,
        decoder: SlotDecoder,
        store: PromptStore,
        requests: Sequence[Request],
        queue: deque[int],
        free: list[int],
    ) -> list[_Live]:
        """Move requests from the queue into free slots."""
        started: list[_Live] = []
        rows: list[Row] = []
        streams: list[Streams] = []
        while queue and len(free) >= (3 if requests[queue[0]].is_dac else 1):
            index = queue.popleft()
            request = requests[index]
            slots = [free.pop() for _ in range(3 if request.is_dac else 1)]
            kv = store.take(request.prompt_ids)
            for slot in slots:
                decoder.cache.fill(slot, kv)
            started.append(_Live(index, slots, position=len(request.prompt_ids) - 1))
            rows += _rows(request, slots)
            if request.steering is not None and request.steering.dac is not None:
                real, unsteered, probe = slots
                streams.append(
                    Streams(real, unsteered, probe, request.steering.alpha, request.steering.dac)
                )
        decoder.start(rows, streams)
        return started

    def _used(self, decoder: SlotDecoder, positions: int) -> int:
        """Blocks to compute so that so many positions are seen: few different numbers."""
        if self.compiled:
            return decoder.blocks  # each number would be compiled on its own
        needed = -(-positions // BLOCK)
        step = max(1, 2 ** (needed.bit_length() - 2))  # 1, 2, 3, 4, 6, 8, 12, 16 …
        return min(-(-needed // step) * step, decoder.blocks)

    def _extend(self, one: _Live, tokens: list[int], request: Request) -> Finish | None:
        """Append new tokens up to the request's end; why it ends, or None."""
        for token in tokens:
            if token < 0:
                continue
            one.tokens.append(token)
            one.position += 1
            if self._worth_asking(token) or len(one.tokens) >= request.max_new_tokens:
                finish = self.stop_rule.finish(one.tokens, request.max_new_tokens)
                if finish is not None:
                    return finish
        return None

    def _worth_asking(self, token: int) -> bool:
        """Whether a text can end with this token: it may be, or complete, what ends it.

        A stop string is complete with the token that brings its last character. Tokens that are
        part of a character show as a replacement character, and blanks at a token's edge may not
        show at all, so that both count as possible ends.
        """
        if token not in self._may_end:
            text = self.stop_rule.tokenizer.decode([token], skip_special_tokens=False)
            lasts = {stop[-1] for stop in self.decoding.stop if stop}
            self._may_end[token] = token in self.loaded.eos_ids or (
                bool(lasts) and ("\ufffd" in text or any(c.isspace() or c in text for c in lasts))
            )
        return self._may_end[token]


def common_prefix(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The tokens that all prompts start with, the last token of the shortest left out.

    Args:
        prompts: Token ids of every prompt that results are compared on, at least one.
    """
    lowest, highest = min(map(tuple, prompts)), max(map(tuple, prompts))
    length = next(
        (i for i, (a, b) in enumerate(zip(lowest, highest, strict=False)) if a != b),
        min(len(lowest), len(highest)),
    )
    return lowest[: min(length, min(map(len, prompts)) - 1)]


def _prompt_steering(request: Request) -> tuple[object, ...] | None:
    """What makes a request's prompt pass its own; None where the prompt is read unsteered."""
    steering = _residual(request)
    if steering is None or steering.dac is not None or not steering.steers_prompt:
        return None
    if steering.alpha == 0.0:
        return None
    places = ((p.layer, p.alpha, p.vector.float().cpu().numpy().tobytes()) for p in steering.places)
    return steering.operator, *places


def _residual(request: Request) -> Steering | None:
    """A request's steering, which is of the residual stream.

    Raises:
        ValueError: It is of another kind, see `snakesteer.config.catalogue.needs_reference`.
    """
    steering = request.steering
    if steering is None or isinstance(steering, Steering):
        return steering
    raise ValueError(f"the slots engine does not run steering of kind {steering.kind}")


def _kinds(requests: Sequence[Request]) -> tuple[Operator, ...]:
    """Operators that the requests need; none where one addition at one layer serves them all."""
    steerings = [steering for steering in map(_residual, requests) if steering is not None]
    found = {steering.operator for steering in steerings}
    plain = all(steering.is_plain for steering in steerings)
    return () if plain else tuple(operator for operator in OPERATORS if operator in found)


def _rows(request: Request, slots: list[int]) -> list[Row]:
    """What the slots of a request start with."""

    def row(slot: int, steering: Steering | None, factor: float) -> Row:
        return Row(
            slot=slot,
            token=request.prompt_ids[-1],
            position=len(request.prompt_ids) - 1,
            chooser=slots[0],
            seed=request.seed,
            steering=steering,
            factor=factor,
            ticks_per_token=len(slots) if len(slots) == 1 else 2,
        )

    steering = _residual(request)
    if steering is None:
        return [row(slots[0], None, 0.0)]
    if steering.dac is None:
        return [row(slots[0], steering, steering.alpha)]
    real, unsteered, probe = slots
    return [
        row(real, steering, 0.0),  # its factor is α · α_t, set after the first tick
        row(unsteered, None, 0.0),
        row(probe, steering, steering.dac.probe_alpha),
    ]
