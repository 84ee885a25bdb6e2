"""The reference engine's session: batches that wait for their turn."""

import heapq
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence

from tqdm import tqdm

from snakesteer.engine.interface import Generation, Request


class BatchSession:
    """A queue of batches, one of which is answered at a time.

    Requests of one `add` share batches with each other alone, so that what runs together does not
    depend on what else is in the queue. A batch of which some requests are dropped stays whole.

    Args:
        batches: Requests → indices of those that run together.
        answer: Answers a batch, ticket by ticket.
        bar: Shows how many of the requests have ended.
    """

    def __init__(
        self,
        batches: Callable[[Sequence[Request]], list[list[int]]],
        answer: Callable[[Mapping[int, Request]], list[Generation]],
        bar: tqdm,
    ) -> None:
        self._make_batches = batches
        self._answer = answer
        self._bar = bar
        self._tickets = itertools.count()
        self._turns = itertools.count()
        self._queue: list[tuple[int, int, dict[int, Request]]] = []
        self._wanted: set[int] = set()
        self._total = 0

    def add(self, requests: Sequence[Request], priority: int = 0) -> list[int]:
        """Queue requests, see `Session.add`.

        Raises:
            UserError: A prompt that does not fit into the model's context with its answer.
        """
        batches = self._make_batches(requests)
        tickets = [next(self._tickets) for _ in requests]
        for batch in batches:
            members = {tickets[index]: requests[index] for index in batch}
            heapq.heappush(self._queue, (priority, next(self._turns), members))
        self._wanted.update(tickets)
        self._grow(len(tickets))
        return tickets

    def drop(self, tickets: Collection[int]) -> None:
        """Forget requests, see `Session.drop`."""
        dropped = self._wanted.intersection(tickets)
        self._wanted -= dropped
        self._grow(-len(dropped))

    def ended(self) -> list[tuple[int, Generation]]:
        """Answer the next batch, see `Session.ended`."""
        while self._queue:
            _, _, members = heapq.heappop(self._queue)
            if self._wanted.isdisjoint(members):
                continue
            found = zip(members, self._answer(members), strict=True)
            answers = [(ticket, row) for ticket, row in found if ticket in self._wanted]
            self._wanted.difference_update(members)
            self._bar.update(len(answers))
            return answers
        return []

    def _grow(self, by: int) -> None:
        self._total += by
        self._bar.total = self._total
        self._bar.refresh()
