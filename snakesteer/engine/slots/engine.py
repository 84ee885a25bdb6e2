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
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from tqdm import tqdm

from snakesteer.engine.batching import check_lengths
from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.engine.slots.attention import BLOCK, slot_attention
from snakesteer.engine.slots.capacity import Capacity
from snakesteer.engine.slots.check import examine
from snakesteer.engine.slots.count import MIN_SLOTS, choose_slots, kept_bytes
from snakesteer.engine.slots.dac import Streams
from snakesteer.engine.slots.decode import SlotDecoder, SlotStart, slot_starts
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.engine.slots.rows import RowSteering, residual_steering
from snakesteer.engine.slots.scheduler import Ends, Live, Scheduler
from snakesteer.engine.slots.store import PromptStore
from snakesteer.engine.stopping import StopRule
from snakesteer.engine.watch import Watch, watched
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel

logger = logging.getLogger(__name__)

TICKS_ON_GPU = 8  # steps between two looks at the tokens; even, as DAC takes two ticks a token


class SlotsEngine:
    """Answers requests with continuous batching over a fixed number of slots.

    Args:
        loaded: The model.
        decoding: How tokens are chosen.
        slots: Number of slots; None chooses by device and memory, see `choose_slots`.
        compiled: Run the decode step through ``torch.compile``.
        shared_prefix: Token ids that prompts start with. Part of a result, like the number of
            slots. A prompt that starts otherwise, or ends there, is answered without it.
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
        self.ends = Ends(self.stop_rule)
        self.steering = RowSteering(loaded.blocks)
        self.ticks = TICKS_ON_GPU if loaded.device.type == "cuda" else 1
        self.watch: Watch | None = None
        self.steps = 0
        self.step_seconds = 0.0
        self._decoder: SlotDecoder | None = None
        self._stores: dict[int, PromptStore] = {}  # length of the shared prefix → unsteered prompts

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
        waves: dict[tuple[object, int], dict[int, Request]] = {}
        for index, request in enumerate(requests):
            key = (_prompt_steering(request), self._shared_length(request))
            waves.setdefault(key, {})[index] = request
        results: dict[int, Generation] = {}
        hidden = None if self.progress else True  # None hides it where no one looks at a terminal
        with tqdm(total=len(requests), unit="text", disable=hidden, leave=False) as bar:
            for (_, shared), wave in waves.items():
                for index, generation in self._run_wave(wave, shared):
                    results[index] = generation
                    bar.update()
        return [results[index] for index in range(len(requests))]

    def _shared_length(self, request: Request) -> int:
        """How many tokens of the shared prefix a prompt starts with: all or none."""
        ids, length = request.prompt_ids, len(self.shared_prefix)
        return length if len(ids) > length and ids[:length] == self.shared_prefix else 0

    def _run_wave(
        self, wave: Mapping[int, Request], shared: int
    ) -> Iterator[tuple[int, Generation]]:
        """Answer requests whose prompts are read in the same way, in the order that they end."""
        store = self._store(next(iter(wave.values())), shared)
        decoder = self._decoder_for(wave.values(), shared)
        if shared:
            assert decoder.cache.shared is not None
            assert store.prefill.prefix is not None
            decoder.cache.shared.copy_(store.prefill.prefix)
        scheduler = Scheduler(wave, self.slots, store.prefill.blocks, self.ends)
        store.expect([wave[index].prompt_ids for index in scheduler.order])
        decoder.begin([residual_steering(request) for request in wave.values()])
        while scheduler.has_work:
            _start(scheduler.refill(), store, decoder)
            if self.watch is not None:
                self.watch.follow({one.index: one.slots for one in scheduler.live})
            last = scheduler.last_position + self.ticks
            started = time.perf_counter()
            tokens, alphas = decoder.run(self.ticks, decoder.blocks_for(last - shared))
            self.step_seconds += time.perf_counter() - started
            self.steps += self.ticks
            ended = scheduler.collect(tokens, alphas)
            decoder.stop([slot for one, _ in ended for slot in one.slots])
            for one, finish in ended:
                yield one.index, self.stop_rule.generation(one.tokens, finish, one.alphas)

    def _store(self, request: Request, shared: int) -> PromptStore:
        """Prompts under this request's prompt steering, behind this prefix."""
        steered = residual_steering(request) if _prompt_steering(request) else None
        if steered is None and shared in self._stores:
            return self._stores[shared]
        prefill = Prefill(
            self.loaded, self.steering, request.prompt_ids[:shared], steered, self.watch
        )
        if steered is not None:
            return PromptStore(prefill, limit=0)
        self._stores[shared] = PromptStore(prefill, kept_bytes(self.loaded.device))
        return self._stores[shared]

    def _decoder_for(self, requests: Collection[Request], shared: int) -> SlotDecoder:
        """The decoder of the last call if these requests fit into it, else a new one."""
        longest = max(len(r.prompt_ids) + r.max_new_tokens - 1 for r in requests)
        steerings = [residual_steering(request) for request in requests]
        needed = Capacity(
            slots=self.slots,
            blocks=-(-(longest - shared) // BLOCK),
            shared=shared,
            steps=max(request.max_new_tokens for request in requests),
            places=max(1 if steering is None else len(steering.places) for steering in steerings),
        )
        if self._decoder is None or not self._decoder.capacity.holds(needed):
            self._decoder = None  # its memory first
            self._decoder = SlotDecoder(
                self.loaded,
                self.decoding,
                self.steering,
                self.shape,
                needed,
                self.compiled,
                self.watch,
            )
        return self._decoder


def _start(started: Sequence[Live], store: PromptStore, decoder: SlotDecoder) -> None:
    """Put requests into the slots that they have been given."""
    starts: list[SlotStart] = []
    streams: list[Streams] = []
    for one in started:
        kv = store.take(one.request.prompt_ids)
        for slot in one.slots:
            decoder.cache.fill(slot, kv)
        starts += slot_starts(one.request, one.slots)
        steering = one.request.steering
        if steering is not None and steering.dac is not None:
            real, unsteered, probe = one.slots
            streams.append(Streams(real, unsteered, probe, steering.alpha, steering.dac))
    decoder.start(starts, streams)


def _prompt_steering(request: Request) -> tuple[object, ...] | None:
    """What makes a request's prompt pass its own; None where the prompt is read unsteered."""
    steering = residual_steering(request)
    if steering is None or steering.dac is not None or not steering.steers_prompt:
        return None
    if steering.alpha == 0.0:
        return None
    places = ((p.layer, p.alpha, p.vector.float().cpu().numpy().tobytes()) for p in steering.places)
    return steering.operator, *places
