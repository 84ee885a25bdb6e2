"""Who is decoded now, and who comes next: requests move from a queue to slots, and give them back.

All of it is bookkeeping on the CPU, which knows nothing of the model.
"""

import bisect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from snakesteer.engine.interface import Finish, Request
from snakesteer.engine.stopping import StopRule


@dataclass(eq=False)
class Live:
    """A request that is being decoded.

    Attributes:
        ticket: Of the request.
        request: The request.
        slot: Its slot.
        position: Of the token read next.
        tokens: Chosen so far.
        noted: What the step noted of each of them; see `SlotDecoder.run`.
    """

    ticket: int
    request: Request
    slot: int
    position: int
    tokens: list[int] = field(default_factory=list)
    noted: list[float] = field(default_factory=list)


class Ends:
    """A stop rule that is asked only where a text can end: it decodes text, which takes time.

    Args:
        rule: The stop rule.
    """

    def __init__(self, rule: StopRule) -> None:
        self.rule = rule
        self._may_end: dict[int, bool] = {}  # token → whether a text can end with it

    def finish(self, tokens: Sequence[int], limit: int) -> Finish | None:
        """Why a row ends after its latest token, or None: see `StopRule.finish`."""
        if self._worth_asking(tokens[-1]) or len(tokens) >= limit:
            return self.rule.finish(tokens, limit)
        return None

    def _worth_asking(self, token: int) -> bool:
        """Whether a text can end with this token: it may be, or complete, what ends it.

        A stop string is complete with the token that brings its last character. Tokens that are
        part of a character show as a replacement character, and blanks at a token's edge may not
        show at all, so that both count as possible ends.
        """
        if token not in self._may_end:
            text = self.rule.tokenizer.decode([token], skip_special_tokens=False)
            lasts = {stop[-1] for stop in self.rule.stop if stop}
            self._may_end[token] = token in self.rule.eos_ids or (
                bool(lasts) and ("\ufffd" in text or any(c.isspace() or c in text for c in lasts))
            )
        return self._may_end[token]


class Scheduler:
    """Shares slots out among requests.

    Args:
        slots: Number of slots.
        ends: Says when a request ends.

    Attributes:
        live: The requests that hold slots.
    """

    def __init__(self, slots: int, ends: Ends) -> None:
        self.ends = ends
        self.live: list[Live] = []
        self._queue: list[tuple[tuple[int, ...], int, Request]] = []  # turn, ticket, request
        self._free = list(range(slots))

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return bool(self._queue or self.live)

    @property
    def last_position(self) -> int:
        """The largest position that a live request reads next."""
        return max(one.position for one in self.live)

    @property
    def waiting(self) -> list[Request]:
        """Requests that have not started, in the order in which they will."""
        return [request for _, _, request in self._queue]

    def add(self, ticket: int, request: Request, turn: tuple[int, ...]) -> None:
        """Queue a request.

        Args:
            ticket: Of the request; no two have the same.
            request: The request.
            turn: Smaller ones start first.
        """
        bisect.insort(self._queue, (turn, ticket, request), key=lambda waiting: waiting[:2])

    def drop(self, tickets: Collection[int]) -> tuple[list[Request], list[Live]]:
        """Forget requests; those that waited, and those that give back their slots."""
        waited = [request for _, ticket, request in self._queue if ticket in tickets]
        self._queue = [entry for entry in self._queue if entry[1] not in tickets]
        stopped = [one for one in self.live if one.ticket in tickets]
        self._release(stopped)
        return waited, stopped

    @property
    def next(self) -> Request | None:
        """The request that could start now; None if there is no slot or no request."""
        return self._queue[0][2] if self._queue and self._free else None

    def start(self) -> Live:
        """Give the next request a slot."""
        _, ticket, request = self._queue.pop(0)
        one = Live(ticket, request, self._free.pop(), len(request.prompt_ids) - 1)
        self.live.append(one)
        return one

    def collect(
        self, tokens: Sequence[Sequence[int]], noted: Sequence[Sequence[float]] = ()
    ) -> list[tuple[Live, Finish]]:
        """Hand out new tokens; the requests that end with them, which give back their slots.

        Args:
            tokens: ``[ticks][slots]``.
            noted: ``[ticks][slots]``, see `SlotDecoder.run`.
        """
        ended: list[tuple[Live, Finish]] = []
        for one in self.live:
            own = [tick[one.slot] for tick in noted]
            finish = self._extend(one, [tick[one.slot] for tick in tokens], own)
            if finish is not None:
                ended.append((one, finish))
        self._release([one for one, _ in ended])
        return ended

    def _release(self, ended: Sequence[Live]) -> None:
        for one in ended:
            self.live.remove(one)
            self._free.append(one.slot)

    def _extend(self, one: Live, tokens: Sequence[int], noted: Sequence[float]) -> Finish | None:
        """Append new tokens up to the request's end; why it ends, or None."""
        for tick, token in enumerate(tokens):
            one.tokens.append(token)
            one.noted += noted[tick : tick + 1]
            one.position += 1
            finish = self.ends.finish(one.tokens, one.request.max_new_tokens)
            if finish is not None:
                return finish
        return None


def turns(requests: Sequence[Request], width: Callable[[Request], int]) -> list[tuple[int, int]]:
    """The order in which requests of one call start: shortest prompts first, prompt by prompt.

    Then prompts of one width come together, and are read together.

    Args:
        requests: The requests.
        width: Of a request's prompt, see `prompt_width`.
    """
    first_seen: dict[tuple[int, ...], int] = {}
    for request in requests:
        first_seen.setdefault(request.prompt_ids, len(first_seen))
    return [(width(request), first_seen[request.prompt_ids]) for request in requests]
