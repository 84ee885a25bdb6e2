"""A lane: slots whose requests are decoded together, since they need the same computation.

Requests under a dynamic strength take three passes a step, others one. So that no row stands idle,
each kind has slots of its own.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, replace
from statistics import fmean

from snakesteer.data.prompts import Ids
from snakesteer.engine.interface import Finish, Generation, Request
from snakesteer.engine.slots.cache import PREFIXES
from snakesteer.engine.slots.capacity import Capacity, needed_for, parting
from snakesteer.engine.slots.decode import SlotDecoder, SlotStart
from snakesteer.engine.slots.head_rows import PLACES
from snakesteer.engine.slots.parts import parts, reading
from snakesteer.engine.slots.scheduler import Ends, Live, Scheduler
from snakesteer.engine.slots.store import PromptStores
from snakesteer.engine.watch import Watch


@dataclass
class Work:
    """How much has been computed.

    Attributes:
        steps: Decode steps.
        live: Slots that held a request in them, summed over the steps.
        seconds: Time that they took, reading their tokens included.
    """

    steps: int = 0
    live: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.steps + other.steps, self.live + other.live, self.seconds + other.seconds)

    def __sub__(self, other: "Work") -> "Work":
        return Work(self.steps - other.steps, self.live - other.live, self.seconds - other.seconds)

    def occupancy(self, slots: int) -> float:
        """Share of the slots that held a request."""
        return self.live / (self.steps * slots) if self.steps else 0.0


class Lane:
    """Requests that have one shared prefix, and all or none a dynamic strength.

    Args:
        slots: Number of slots.
        dynamic: Whether the strengths are.
        shared: Token ids that all prompts start with; may be empty.
        ends: Says when a request ends.
        prompts: Where prompts come from.
        make_decoder: Makes a decoder of some capacity.

    Attributes:
        work: What it has done.
        decoder: Made with the first request.
        expected: Room for what is still to come, so that it need not wait for a new decoder.
    """

    def __init__(
        self,
        slots: int,
        dynamic: bool,
        shared: Ids,
        ends: Ends,
        prompts: PromptStores,
        make_decoder: Callable[[Capacity], SlotDecoder],
    ) -> None:
        self.slots = slots
        self.dynamic = dynamic
        self.shared = shared
        self.prompts = prompts
        self.make_decoder = make_decoder
        self.scheduler = Scheduler(slots, ends)
        self.work = Work()
        self.decoder: SlotDecoder | None = None
        self.expected: Capacity | None = None
        self._prefixes, self._heads = _Places(PREFIXES), _Places(PLACES)

    def add(self, ticket: int, request: Request, turn: tuple[int, ...]) -> None:
        """Queue a request, see `Scheduler.add`."""
        self.prompts.expect(request, self.shared)
        self.scheduler.add(ticket, request, turn)

    def drop(self, tickets: Collection[int]) -> None:
        """Forget requests, whether they wait or are being answered."""
        waited, stopped = self.scheduler.drop(tickets)
        for request in waited:
            self.prompts.of(request, self.shared).forget(request.prompt_ids)
            self.prompts.forget(request, self.shared)
        self._end(stopped)

    def refill(self) -> int:
        """Start what can be started; the number of requests that hold a slot then."""
        starts: list[SlotStart] = []
        while (request := self.scheduler.next) is not None and self._admits(request):
            starts.append(self._filled(self.scheduler.start()))
        if starts:
            assert self.decoder is not None
            self.decoder.start(starts)
        return len(self.scheduler.live)

    def advance(self, ticks: int, watch: Watch | None) -> list[tuple[int, Generation]]:
        """Decode some steps; tickets and generations of the requests that end in them.

        Args:
            ticks: How many.
            watch: Who looks on, if anyone.
        """
        assert self.decoder is not None
        live = self.scheduler.live
        if watch is not None:
            watch.follow({one.ticket: one.slot for one in live})
        last = self.scheduler.last_position + ticks
        self.work.steps += ticks
        self.work.live += ticks * len(live)
        started = time.perf_counter()
        tokens, noted = self.decoder.run(ticks, self.decoder.blocks_for(last - len(self.shared)))
        self.work.seconds += time.perf_counter() - started
        ended = self.scheduler.collect(tokens, noted)
        self._end([one for one, _ in ended])
        return [(one.ticket, self._generation(one, finish)) for one, finish in ended]

    def _generation(self, one: Live, finish: Finish) -> Generation:
        found = self.scheduler.ends.rule.generation(
            one.tokens, finish, one.noted if self.dynamic else ()
        )
        return replace(found, steered_share=fmean(one.noted)) if one.request.is_gated else found

    def rehearse(self, request: Request) -> None:
        """Compute one step with all slots as full as this request can make them.

        Args:
            request: Unsteered; only its size matters.
        """
        needed = needed_for(request, self.slots, len(self.shared))
        self._make_room(replace(needed, dynamic=self.dynamic))
        assert self.decoder is not None
        self.decoder.run(1, needed.blocks)

    def _admits(self, request: Request) -> bool:
        """Whether there is room for a request, apart from a slot; if so, it is made."""
        needed = needed_for(request, self.slots, len(self.shared))
        if self.decoder is None or not self.decoder.capacity.holds(needed):
            if self.scheduler.live:
                return False
            self._make_room(needed)
        heads = parts(request).heads
        return (not self.shared or self._prefixes.has(reading(request))) and (
            heads is None or self._heads.has(heads.vectors_key)
        )

    def _make_room(self, needed: Capacity) -> None:
        """A decoder for this request, those that wait, and what the last one had room for."""
        for request in self.scheduler.waiting:
            needed = needed.with_room_for(needed_for(request, self.slots, len(self.shared)))
        if self.expected is not None:
            needed = needed.with_room_for(self.expected)
        if self.decoder is not None:
            needed = needed.with_room_for(self.decoder.capacity)
        self.decoder = None  # its memory first
        self.decoder = self.make_decoder(needed)
        self._prefixes, self._heads = _Places(PREFIXES), _Places(PLACES)

    def _filled(self, one: Live) -> SlotStart:
        """Put a request's prompt into its slot; what the slot starts with."""
        assert self.decoder is not None
        request, cache = one.request, self.decoder.cache
        store = self.prompts.of(request, self.shared)
        prefix = 0
        if self.shared:
            prefix, new = self._prefixes.take(one.ticket, reading(request))
            if new:
                assert cache.shared is not None
                assert store.prefill.prefix is not None
                cache.shared[:, :, prefix] = store.prefill.prefix
        self.decoder.fill(one.slot, store.take(request.prompt_ids))
        found, heads_at = parts(request), 0
        if found.heads is not None:
            heads_at, new = self._heads.take(one.ticket, found.heads.vectors_key)
            if new:
                assert self.decoder.heads is not None
                self.decoder.heads.fill(heads_at, found.heads)
        return SlotStart(
            slot=one.slot,
            token=request.prompt_ids[-1],
            position=one.position,
            seed=request.seed,
            steering=found.blocks,
            heads=found.heads,
            heads_at=heads_at,
            parting=parting(request),
            prefix=prefix,
        )

    def _end(self, ended: Collection[Live]) -> None:
        """Take requests out of their slots, which the scheduler has back."""
        if not ended:
            return
        assert self.decoder is not None
        self.decoder.stop([one.slot for one in ended])
        for one in ended:
            self._prefixes.release(one.ticket)
            self._heads.release(one.ticket)
            self.prompts.forget(one.request, self.shared)


class _Places:
    """What lies where in a decoder that several requests may share, and who uses it.

    Args:
        count: Number of places.
    """

    def __init__(self, count: int) -> None:
        self._held: list[Hashable] = [_NOTHING] * count
        self._at: dict[int, int] = {}  # ticket → place

    def has(self, what: Hashable) -> bool:
        """Whether this is there, or has a place to go."""
        return self._find(what) is not None

    def take(self, ticket: int, what: Hashable) -> tuple[int, bool]:
        """Where a request finds what it needs, and whether it must be put there first."""
        at = self._find(what)
        assert at is not None
        new = self._held[at] != what
        self._held[at] = what
        self._at[ticket] = at
        return at, new

    def release(self, ticket: int) -> None:
        """A request has ended; what it used stays until something else needs the place."""
        self._at.pop(ticket, None)

    def _find(self, what: Hashable) -> int | None:
        if what in self._held:
            return self._held.index(what)
        used = Counter(self._at.values())
        free = (at for at in range(len(self._held)) if not used[at])
        return next(free, None)


_NOTHING = object()
