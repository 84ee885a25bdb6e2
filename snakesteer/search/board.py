"""The answers that trials in flight need: asked for early, shared, kept, and dropped.

Of every trial, the next chunk is certain to be needed, and comes first. Later ones are needed only
if the trial is not pruned before. They are asked for early wherever the engine would run out of
work, as it does while the longest text of a chunk goes on.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from snakesteer.evaluation.answers import Answer
from snakesteer.search.course import Course
from snakesteer.search.plan import Plan
from snakesteer.steering.candidate import Candidate

EARLY = 10**9  # priority of what may not be needed: behind all that is
# Requests in the engine's queue and slots, a multiple of its rows, that keep it busy.
QUEUED = 2


class Desk(Protocol):
    """Answers chunks of the validation problems under configurations."""

    def ask(self, candidate: Candidate, chunk: int, priority: int) -> list[int]:
        """Ask for a chunk; a ticket for each of its problems, in their order."""
        ...

    def drop(self, tickets: Collection[int]) -> None:
        """Forget answers that have not come."""
        ...

    def ended(self) -> list[tuple[int, Answer]]:
        """Work until answers come; their tickets and they."""
        ...


@dataclass(eq=False)
class Member:
    """A trial in flight.

    Attributes:
        number: Of the trial.
        candidate: Its configuration.
        course: How it goes.
        answers: Those that count so far.
    """

    number: int
    candidate: Candidate
    course: Course
    answers: list[Answer] = field(default_factory=list)


class Board:
    """All answers of a search.

    Args:
        plan: What the study is run with.
        desk: Answers.
    """

    def __init__(self, plan: Plan, desk: Desk) -> None:
        self._plan = plan
        self._desk = desk
        self._chunks: dict[tuple[Candidate, int], dict[int, Answer]] = {}  # by place in the chunk
        self._places: dict[
            int, tuple[Candidate, int, int]
        ] = {}  # ticket → where its answer belongs

    def answers(self, candidate: Candidate, chunk: int) -> Sequence[Answer] | None:
        """The answers to a chunk, if all are there; without steering those of the baseline."""
        if candidate.alpha == 0.0:
            return self._plan.baseline[self._plan.chunk(chunk)]
        found = self._chunks.get((candidate, chunk), {})
        length = self._plan.chunk_length(chunk)
        return [found[place] for place in range(length)] if len(found) == length else None

    def work(self, members: Iterable[Member]) -> None:
        """Ask for what is needed and for what may be, and wait until some answers come.

        Args:
            members: Trials that have not ended, in their order.
        """
        going = [*members]
        for member in going:
            self._ask(member.candidate, member.course.chunk, member.number)
        for member in going:
            for chunk in range(member.course.chunk + 1, self._plan.num_chunks):
                if len(self._places) < QUEUED * self._plan.rows:
                    self._ask(member.candidate, chunk, EARLY + member.number)
        for ticket, answer in self._desk.ended():
            candidate, chunk, place = self._places.pop(ticket)
            self._chunks[candidate, chunk][place] = answer

    def drop(self, candidate: Candidate) -> None:
        """Forget the chunks of a configuration that are not complete."""
        tickets = [ticket for ticket, place in self._places.items() if place[0] == candidate]
        self._desk.drop(tickets)
        for ticket in tickets:
            _, chunk, _ = self._places.pop(ticket)
            self._chunks.pop((candidate, chunk), None)

    def _ask(self, candidate: Candidate, chunk: int, priority: int) -> None:
        if (candidate, chunk) in self._chunks:
            return
        self._chunks[candidate, chunk] = {}
        for place, ticket in enumerate(self._desk.ask(candidate, chunk, priority)):
            self._places[ticket] = (candidate, chunk, place)
