"""The slots engine: a fixed number of slots decoded together, refilled from a queue.

Every step computes all slots, whatever they hold, so that a row's result depends on neither its
neighbours nor its slot. It does depend on the number of slots, in the last bits, and in reduced
precision therefore in tokens: the number is part of a result, and only what ran with one number may
be compared.

A prompt is read once for all requests that share it, and the tokens that all prompts start with are
read once for all prompts. Requests whose steering reaches prompt positions (scope ``all``, ActAdd)
bring their own prompt pass; they share the slots with all others.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from tqdm import tqdm

from snakesteer.data.prompts import Ids
from snakesteer.engine.batching import check_lengths
from snakesteer.engine.interface import Decoding, Generation, Request, drain
from snakesteer.engine.slots.attention import BLOCK, Kernel, slot_attention
from snakesteer.engine.slots.capacity import Capacity, needed_for
from snakesteer.engine.slots.check import examine
from snakesteer.engine.slots.count import MIN_SLOTS, choose_slots, kept_bytes, round_down, round_up
from snakesteer.engine.slots.decode import SlotDecoder
from snakesteer.engine.slots.head_rows import check_heads, known_heads
from snakesteer.engine.slots.lane import Lane, Work
from snakesteer.engine.slots.parts import PromptSteering
from snakesteer.engine.slots.prefill import Prefill, prompt_width
from snakesteer.engine.slots.prompt_gates import PromptGates
from snakesteer.engine.slots.rotary import check_rotary, rotary_limit, within
from snakesteer.engine.slots.rows import RowSteering
from snakesteer.engine.slots.scheduler import Ends, turns
from snakesteer.engine.slots.store import PromptStores
from snakesteer.engine.stopping import StopRule
from snakesteer.engine.watch import Watch, watched
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel

logger = logging.getLogger(__name__)

TICKS_ON_GPU = 8  # steps between two looks at the tokens


class SlotsEngine:
    """Answers requests with continuous batching over a fixed number of slots.

    Args:
        loaded: The model.
        decoding: How tokens are chosen.
        slots: Number of slots; None chooses by device and memory, see `choose_slots`.
        compiled: Run the decode step through ``torch.compile``. Not with the kernel ``flex``, which
            is compiled by itself: that is what has been checked.
        shared_prefix: Token ids that prompts start with. Part of a result, like the number of
            slots. A prompt that starts otherwise, or ends there, is answered without it.
        progress: Show a progress bar on the terminal.
        kernel: See `slot_attention`.

    Attributes:
        slots: Number of slots, see `prepare`. Halved where `generate` runs out of memory on the
            GPU.
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
        kernel: Kernel = "blocks",
    ) -> None:
        self.shape = examine(loaded, kernel)
        self.kernel: Kernel = kernel
        self.rotary_limit = rotary_limit(loaded)
        self.loaded = loaded = within(loaded, self.rotary_limit)
        self.decoding = decoding
        self.compiled = compiled and kernel == "blocks"
        self.progress = progress
        self.shared_prefix = tuple(shared_prefix)
        self._choose = slots is None
        self.slots = choose_slots(loaded, self.shape) if slots is None else slots
        if self.slots < MIN_SLOTS:
            raise UserError(
                f"The slots engine needs at least {MIN_SLOTS} slots, not {self.slots}",
                "Raise engine.slots, or leave it out.",
            )
        self.stop_rule = StopRule(loaded.tokenizer, loaded.eos_ids, decoding.stop)
        self.ends = Ends(self.stop_rule)
        self.steering = RowSteering(loaded.blocks, known_heads(loaded))
        self.ticks = TICKS_ON_GPU if loaded.device.type == "cuda" else 1
        self.watch: Watch | None = None
        self._lanes: dict[tuple[int, bool, Ids], Lane] = {}
        self._expected: dict[int, Capacity] = {}  # length of the shared prefix → room to make
        self._prompts = PromptStores(self._reader, kept_bytes(loaded.device))
        # Their passes are no part of an answer: nobody takes a look at them.
        self.prompt_gates = PromptGates(
            lambda shared: Prefill(loaded, self.steering, shared, None), self._shared
        )

    @property
    def work(self) -> dict[str, Work]:
        """What has been computed: ``plain``, and ``dynamic`` for dynamic strengths."""
        found = {"plain": Work(), "dynamic": Work()}
        for (_, dynamic, _), lane in self._lanes.items():
            found["dynamic" if dynamic else "plain"] += lane.work
        return found

    def prepare(self, requests: Sequence[Request]) -> None:
        """Make room for what will be asked, before there is any answer.

        This settles the number of slots. There are no more than for all validation problems, since
        the few trials that a search has in flight would leave many of them empty (docs/search.md).
        On a GPU the largest step of a run is computed once: all slots full, with and without a
        dynamic strength. Where it does not fit into memory there are fewer slots. A number that was
        given stays.

        Args:
            requests: One for every validation problem.

        Raises:
            UserError: Too little memory for the slots that were given, or for the fewest.
        """
        for request in requests:
            shared = self.shared_length(request)
            needed = needed_for(request, self.slots, shared)
            self._expected[shared] = needed.with_room_for(self._expected.get(shared, needed))
        for (_, _, prefix), lane in self._lanes.items():
            lane.expected = self._expected.get(len(prefix))
        if not requests:
            return
        if self._choose:
            own = max(one.blocks for one in self._expected.values()) * BLOCK
            fitting = choose_slots(self.loaded, self.shape, own)
            self.slots = min(fitting, round_up(len(requests)))
        if self.loaded.device.type != "cuda":
            return
        while True:
            try:
                self._rehearse(requests)
                return
            except torch.OutOfMemoryError as error:
                self._forget()
                fewer = round_down(self.slots * 3 // 4)
                if not self._choose or fewer == self.slots:
                    raise _too_large(self.slots) from error
                logger.warning("%d slots do not fit: trying %d", self.slots, fewer)
                self.slots = fewer
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _rehearse(self, requests: Sequence[Request]) -> None:
        largest = max(requests, key=lambda one: len(one.prompt_ids) + one.max_new_tokens)
        with self._running():
            for dynamic in (False, True):
                lane = self._lane(self._shared(largest), dynamic)
                lane.rehearse(replace(largest, steering=None))

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Generate one text per request, in their order.

        If the GPU runs out of memory, the whole call is done again with half the slots, so that
        its results come from one number of slots.

        Raises:
            UserError: A prompt that does not fit into the model's context with its answer, or too
                little memory for the smallest number of slots.
        """
        while True:
            try:
                with self.session() as session:
                    return drain(session, requests)
            except torch.OutOfMemoryError as error:
                self._forget()
                if self.slots // 2 < MIN_SLOTS:
                    raise _too_large(self.slots) from error
                self.slots //= 2
            torch.cuda.empty_cache()
            logger.warning("out of memory: starting again with %d slots", self.slots)

    @contextmanager
    def session(self) -> Iterator["SlotsSession"]:
        """A queue for requests; the model is as the engine needs it while the context is open.

        What waits or is being answered when it closes is forgotten.
        """
        hidden = None if self.progress else True  # None hides it where no one looks at a terminal
        bar = tqdm(total=0, unit="text", disable=hidden, leave=False)
        with self._running(), bar:
            session = SlotsSession(self, bar)
            try:
                yield session
            finally:
                session.drop(range(session.next_ticket))

    @contextmanager
    def _running(self) -> Iterator[None]:
        """The model as the engine needs it; as it was when the context closes."""
        with (
            slot_attention(self.loaded.model, self.kernel),
            watched(self.watch, self.steering.hooked()),
        ):
            yield

    def shared_length(self, request: Request) -> int:
        """How many tokens of the shared prefix a prompt starts with: all or none."""
        ids, length = request.prompt_ids, len(self.shared_prefix)
        return length if len(ids) > length and ids[:length] == self.shared_prefix else 0

    def lane(self, request: Request) -> Lane:
        """The slots that answer a request."""
        return self._lane(self._shared(request), request.is_dynamic)

    def _shared(self, request: Request) -> Ids:
        return self.shared_prefix[: self.shared_length(request)]

    def _lane(self, shared: Ids, dynamic: bool) -> Lane:
        key = (self.slots, dynamic, shared)
        if key not in self._lanes:
            self._lanes[key] = Lane(
                self.slots, dynamic, shared, self.ends, self._prompts, self._decoder
            )
            self._lanes[key].expected = self._expected.get(len(shared))
        return self._lanes[key]

    def _reader(self, shared: Ids, steering: PromptSteering | None) -> Prefill:
        return Prefill(self.loaded, self.steering, shared, steering, self.watch)

    def _decoder(self, capacity: Capacity) -> SlotDecoder:
        return SlotDecoder(
            self.loaded,
            self.decoding,
            self.steering,
            self.shape,
            capacity,
            self.compiled,
            self.watch,
        )

    def _forget(self) -> None:
        """Free all memory."""
        self._lanes.clear()
        self.prompt_gates.forget()
        self._prompts = PromptStores(self._reader, kept_bytes(self.loaded.device))


def _too_large(slots: int) -> UserError:
    return UserError(
        f"{slots} slots do not fit into the GPU's memory",
        "Lower engine.slots, generation.max_new_tokens or prompt.shots, or use a smaller model.",
    )


class SlotsSession:
    """A queue that the slots work off, see `snakesteer.engine.interface.Session`.

    Args:
        engine: The engine.
        bar: Shows how many requests have ended, of all that have come.

    Attributes:
        next_ticket: Tickets from 0 to the one before it have been given.
    """

    def __init__(self, engine: SlotsEngine, bar: Any) -> None:
        self.engine = engine
        self.bar = bar
        self.next_ticket = 0
        self._calls = 0
        self._lanes: list[Lane] = []  # that have had a request

    def add(self, requests: Sequence[Request], priority: int = 0) -> list[int]:
        """Queue requests, see `Session.add`.

        Raises:
            UserError: A prompt that does not fit into the model's context with its answer, or
                attention heads that are steered and not found.
        """
        check_rotary(self.engine.rotary_limit, requests)
        check_lengths(self.engine.loaded, requests)
        check_heads(self.engine.loaded, requests)
        if self.engine.watch is not None:
            self.engine.watch.follow({})  # gates read prompts in rows of their own
        requests = self.engine.prompt_gates.settled(requests)
        first = self.next_ticket
        self.next_ticket += len(requests)
        self._calls += 1
        self.bar.total += len(requests)
        self.bar.refresh()
        shared = self.engine.shared_length
        order = turns(requests, lambda one: prompt_width(len(one.prompt_ids), shared(one)))
        for ticket, (request, turn) in enumerate(zip(requests, order, strict=True), start=first):
            lane = self.engine.lane(request)
            if lane not in self._lanes:
                self._lanes.append(lane)
            lane.add(ticket, request, (priority, self._calls, *turn))
        return list(range(first, self.next_ticket))

    @torch.inference_mode()
    def drop(self, tickets: Collection[int]) -> None:
        """Forget requests, see `Session.drop`."""
        for lane in self._lanes:
            lane.drop(tickets)

    @torch.inference_mode()
    def ended(self) -> list[tuple[int, Generation]]:
        """Work until a request ends, see `Session.ended`."""
        while True:
            held = [lane.refill() for lane in self._lanes]
            if not any(held):
                return []
            # The fuller lane: rows of the other one wait for company.
            fullest = self._lanes[held.index(max(held))]
            ended = fullest.advance(self.engine.ticks, self.engine.watch)
            self.bar.update(len(ended))
            if ended:
                return ended
