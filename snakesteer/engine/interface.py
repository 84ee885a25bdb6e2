"""What every engine takes and gives back: requests in, generations out."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import ResidualSteering

Finish = Literal["eos", "stop", "length"]


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen and when a generation ends; the same for all requests of an engine.

    Attributes:
        temperature: 0 is greedy.
        top_p: Nucleus mass in (0, 1]; 1 keeps every token.
        top_k: Number of likeliest tokens kept; 0 keeps every token.
        stop: Generation ends where one of these strings begins.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Request:
    """One text to generate.

    Attributes:
        prompt_ids: Token ids of the prompt, at least one.
        max_new_tokens: Limit on generated tokens, the end token included.
        steering: How it is steered; None leaves the model alone.
        seed: Names the request's own random stream when sampling.
    """

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    steering: Steering | None = None
    seed: int = 0

    @property
    def is_dynamic(self) -> bool:
        """Whether its strength is dynamic."""
        return self.steering is not None and self.steering.dac is not None

    @property
    def is_gated(self) -> bool:
        """Whether it is steered on a condition."""
        return isinstance(self.steering, ResidualSteering) and self.steering.gate is not None


@dataclass(frozen=True)
class Generation:
    """What came out of one request.

    Attributes:
        token_ids: Generated ids without the end token; with the tokens of a stop string.
        text: Decoded text, cut where a stop string begins.
        finish: ``eos`` (end token), ``stop`` (stop string) or ``length`` (limit reached).
        num_tokens: Decoded tokens, the end token included.
        end: The end token, where it ended with one.
        alpha_t: Mean α_t over the decoded tokens; None where the strength is not dynamic. It is no
            part of a comparison: engines agree in tokens, not in the last bits of α_t.
        steered_share: Share of the decoded tokens at which a gate let steering through (and the
            scope asked for it); None without a gate. No part of a comparison either.
    """

    token_ids: tuple[int, ...]
    text: str
    finish: Finish
    num_tokens: int
    end: int | None = None
    alpha_t: float | None = field(default=None, compare=False)
    steered_share: float | None = field(default=None, compare=False)


class Session(Protocol):
    """A queue of requests that an engine works off, and that may grow and shrink meanwhile.

    What comes out of a request never depends on what else is in the queue, or on when it came.
    """

    def add(self, requests: Sequence[Request], priority: int = 0) -> list[int]:
        """Queue requests, behind those of a lower priority number that have not started.

        Returns:
            A ticket for each of them; no session gives one twice.
        """
        ...

    def drop(self, tickets: Collection[int]) -> None:
        """Forget requests, whether they wait or are being answered; ended ones are let pass."""
        ...

    def ended(self) -> list[tuple[int, Generation]]:
        """Work until a request ends.

        Returns:
            Tickets and generations of all that have ended since the last call, at least one; empty
            if no request is left.
        """
        ...


class Engine(Protocol):
    """Anything that answers requests."""

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Generate one text per request; the result has the order of the requests."""
        ...

    def session(self) -> AbstractContextManager[Session]:
        """A queue for requests that come one after the other; one at a time."""
        ...


def drain(session: Session, requests: Sequence[Request]) -> list[Generation]:
    """Answer requests with a session that has no others; the result has their order."""
    results: dict[int, Generation] = {}
    tickets = session.add(requests)
    while ended := session.ended():
        results |= dict(ended)
    return [results[ticket] for ticket in tickets]
