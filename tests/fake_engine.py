"""An engine without a model: it answers by a function, in any order."""

import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from snakesteer.engine.interface import Generation, Request


class FakeSession:
    """Ends a few requests at a time.

    Args:
        engine: Answers.
    """

    def __init__(self, engine: "FunctionEngine") -> None:
        self.engine = engine
        self.count = 0
        self.queue: dict[int, tuple[int, Request]] = {}

    def add(self, requests: Sequence[Request], priority: int = 0) -> list[int]:
        """Queue requests."""
        tickets = [*range(self.count, self.count + len(requests))]
        self.count += len(requests)
        self.queue |= {t: (priority, r) for t, r in zip(tickets, requests, strict=True)}
        self.engine.calls.append([*requests])
        return tickets

    def drop(self, tickets: Collection[int]) -> None:
        """Forget requests."""
        for ticket in tickets:
            self.queue.pop(ticket, None)

    def ended(self) -> list[tuple[int, Generation]]:
        """Answer the next ones."""
        tickets = sorted(self.queue, key=lambda ticket: (self.queue[ticket][0], ticket))
        if self.engine.order is not None:
            self.engine.order.shuffle(tickets)
        found = tickets[: self.engine.rows]
        requests = [self.queue.pop(ticket)[1] for ticket in found]
        return [(t, self.engine.answer(r)) for t, r in zip(found, requests, strict=True)]


class FunctionEngine:
    """What answers must be made of: a subclass says it in ``answer``.

    Args:
        rows: Requests that end together.
        order: Draws which they are; None takes those of the lowest priority, then the first.

    Attributes:
        calls: The requests of every ``add``.
    """

    def __init__(self, rows: int = 1, order: random.Random | None = None) -> None:
        self.rows = rows
        self.order = order
        self.calls: list[list[Request]] = []

    def answer(self, request: Request) -> Generation:
        """One answer."""
        raise NotImplementedError

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """All answers."""
        with self.session() as session:
            tickets = session.add(requests)
            found: dict[int, Generation] = {}
            while ended := session.ended():
                found.update(ended)
        return [found[ticket] for ticket in tickets]

    @contextmanager
    def session(self) -> Iterator[FakeSession]:
        """A session of its own."""
        yield FakeSession(self)
