"""Answers to chunks of the validation problems, from an engine."""

from collections.abc import Callable, Collection, Sequence

from snakesteer.data.problem import Problem
from snakesteer.evaluation.answers import Answer, AnswerQueue
from snakesteer.search.plan import Plan
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate


class ProblemDesk:
    """Answers chunks under configurations; a `Desk`.

    Args:
        queue: Of the engine's session.
        problems: Of the search.
        plan: Their chunks, and the vectors.
        check: Raises where steered and unsteered answers do not compare; called whenever some have
            come, so that they never become a score.

    Attributes:
        tokens: Of all answers that have come.
    """

    def __init__(
        self,
        queue: AnswerQueue,
        problems: Sequence[Problem],
        plan: Plan,
        check: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._problems = problems
        self._plan = plan
        self._check = check
        self.tokens = 0

    def ask(self, candidate: Candidate, chunk: int, priority: int) -> list[int]:
        """Ask for a chunk, see `Desk.ask`."""
        steering = steering_of(candidate, self._plan.vectors)
        part = self._problems[self._plan.chunk(chunk)]
        return self._queue.add([(problem, steering) for problem in part], priority)

    def drop(self, tickets: Collection[int]) -> None:
        """Forget answers that have not come."""
        self._queue.drop(tickets)

    def ended(self) -> list[tuple[int, Answer]]:
        """Work until answers come; their tickets and they."""
        found = self._queue.ended()
        self._check()
        self.tokens += sum(answer.new_tokens for _, answer in found)
        return found
