"""The engine that lets vLLM do the work: continuous batches, paged memory, tensor parallelism.

It does what vLLM does: unless that is in its batch-invariant mode, the last bits of a result depend
on what else is in a batch. In eager mode, as hooks need it.
"""

import heapq
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from snakesteer.engine.batching import check_lengths
from snakesteer.engine.interface import Decoding, Generation, Request, drain
from snakesteer.engine.stopping import StopRule
from snakesteer.engine.vllm.flat import flat_steering
from snakesteer.engine.vllm.prefixes import depends_on_prompt, salt
from snakesteer.engine.vllm.server import Server, installed_version, open_server
from snakesteer.engine.vllm.sight import show
from snakesteer.engine.vllm.worker import OWN, SEED, STEERING, TICKET, Turns
from snakesteer.engine.watch import Watch
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel, vocabulary_size
from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.tokens import token_table

# Of requests and steerings in this process, none twice: vLLM keeps blocks under names with these.
_numbers = itertools.count()


class VllmEngine:
    """Answers requests with vLLM.

    Args:
        loaded: The model, read from files; vLLM reads them again. Its weights are not needed.
        decoding: How tokens are chosen.
        tensor_parallel: Ranks that share the weights.
        batch_invariant: Let vLLM compute so that results do not depend on what is computed
            together; it can on some GPUs.
        slots: Most requests in a step; None takes vLLM's own number, see `prepare`.
        progress: Show a progress bar on the terminal.

    Attributes:
        watch: Who looks on, if anyone; set before the first call.

    Raises:
        UserError: vLLM is not installed, or cannot run the model here.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        decoding: Decoding,
        tensor_parallel: int = 1,
        batch_invariant: bool = False,
        slots: int | None = None,
        progress: bool = False,
    ) -> None:
        self.loaded = loaded
        self.decoding = decoding
        self.tensor_parallel = tensor_parallel
        self.batch_invariant = batch_invariant
        self.progress = progress
        self.watch: Watch | None = None
        self.stop_rule = StopRule(loaded.tokenizer, loaded.eos_ids, decoding.stop)
        self._asked = slots
        self._slots: int | None = slots

    @property
    def server(self) -> Server:
        """vLLM, started at the first use."""
        return open_server(self.loaded, self.tensor_parallel, self.batch_invariant, self._asked)

    @property
    def record(self) -> dict[str, str | int | bool]:
        """What of it belongs to a result."""
        return {
            "engine": "vllm",
            "vllm": installed_version() or "none",
            "batch_invariant": self.batch_invariant,
            "tensor_parallel": self.tensor_parallel,
            "slots": self.slots,
        }

    @property
    def slots(self) -> int:
        """Most requests in a step."""
        return self.server.requests if self._slots is None else self._slots

    @slots.setter
    def slots(self, number: int) -> None:
        self._slots = number

    def prepare(self, requests: Sequence[Request]) -> None:
        """Let no more requests run together than there are validation problems.

        So a run's noise floor, which is taken from half as many, says what company does to its
        answers. A number that was given stays.

        Args:
            requests: One for every validation problem.
        """
        if self._asked is None and requests:
            self.slots = min(self.slots, len(requests))

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Generate one text per request, in their order.

        Raises:
            UserError: A prompt that does not fit into the model's context with its answer.
        """
        if self.watch is None or not self.watch.sites:
            with self.session() as session:
                return drain(session, requests)
        answers = []
        for request in requests:  # one at a time, so that passes are of one request
            with self.session() as session:
                answers += drain(session, [request])
        return answers

    @contextmanager
    def session(self) -> Iterator["VllmSession"]:
        """A queue for requests. What waits or is being answered when it closes is forgotten."""
        server = self.server
        server.begin(self.decoding)
        watch = self.watch
        if watch is not None:
            # What was read before must be read again, to be seen.
            server.engine.reset_prefix_cache()
            server.call("snakesteer_look", True, bool(watch.sites), watch.hooks)
        hidden = None if self.progress else True  # None hides it where no one looks at a terminal
        with tqdm(total=0, unit="text", disable=hidden, leave=False) as bar:
            session = VllmSession(self, server, bar)
            try:
                yield session
            finally:
                session.close()
                if watch is not None:
                    show(watch, server.call("snakesteer_seen")[0])
                    server.call("snakesteer_look", False, False, True)

    def table(self, steering: ResidualSteering) -> torch.Tensor | None:
        """``[vocab]`` bool, which tokens a scope steers; None for all."""
        tokens = steering.token_set
        if tokens is None:
            return None
        return token_table(self.loaded.tokenizer, vocabulary_size(self.loaded), tokens)


@dataclass(frozen=True, eq=False)
class _Known:
    """A steering that workers know.

    Attributes:
        number: That requests name it with.
        parts: As workers have it.
        steering: Keeps its vectors alive, whose identity is part of its key.
    """

    number: int
    parts: Turns
    steering: ResidualSteering


@dataclass(frozen=True, eq=False)
class _Live:
    """A request that waits or is being answered.

    Attributes:
        name: That vLLM knows it by.
        request: What was asked.
        known: Its steering.
        tokens: Generated so far.
    """

    name: str
    request: Request
    known: _Known | None
    tokens: list[int] = field(default_factory=list)


class VllmSession:
    """A queue that vLLM works off, see `snakesteer.engine.interface.Session`.

    Args:
        engine: The engine.
        server: vLLM.
        bar: Shows how many requests have ended, of all that have come.
    """

    def __init__(self, engine: VllmEngine, server: Server, bar: tqdm) -> None:
        import vllm.sampling_params

        self.engine = engine
        self.server = server
        self._bar = bar
        self._params = vllm.sampling_params
        self._tickets = itertools.count()
        self._total = 0
        self._waiting: list[tuple[int, int]] = []  # a heap of priorities and tickets
        self._live: dict[int, _Live] = {}  # by ticket, whether they wait or not
        self._sent: dict[str, int] = {}  # names of what vLLM has → tickets
        self._known: dict[object, _Known] = {}  # by the key of a steering

    def add(self, requests: Sequence[Request], priority: int = 0) -> list[int]:
        """Queue requests, see `Session.add`.

        Raises:
            UserError: A prompt that does not fit into the model's context, or into vLLM's memory,
                with its answer; or a steering that this engine does not have.
        """
        check_lengths(self.engine.loaded, requests)
        self._check_memory(requests)
        steerings = self._learn(requests)
        tickets = [next(self._tickets) for _ in requests]
        for ticket, request, known in zip(tickets, requests, steerings, strict=True):
            self._live[ticket] = _Live(f"request-{next(_numbers)}", request, known)
            heapq.heappush(self._waiting, (priority, ticket))
        self._grow(len(tickets))
        return tickets

    def drop(self, tickets: Collection[int]) -> None:
        """Forget requests, see `Session.drop`."""
        dropped = [ticket for ticket in tickets if ticket in self._live]
        self._forget(dropped)
        self._grow(-len(dropped))

    def ended(self) -> list[tuple[int, Generation]]:
        """Work until a request ends, see `Session.ended`."""
        rule = self.engine.stop_rule
        while self._live:
            self._refill()
            found: list[tuple[int, Generation]] = []
            for output in self.server.engine.step():
                ticket = self._sent[output.request_id]
                one = self._live[ticket]
                for token in output.outputs[0].token_ids:
                    one.tokens.append(token)
                    finish = rule.finish(one.tokens, one.request.max_new_tokens)
                    if finish is not None:
                        found.append((ticket, rule.generation(one.tokens, finish)))
                        break
            if found:
                self._forget([ticket for ticket, _ in found])
                self._bar.update(len(found))
                return found
        return []

    def close(self) -> None:
        """Forget everything."""
        self._forget([*self._live])
        self._tell({}, self._known)

    def _refill(self) -> None:
        """Send waiting requests, as many as may run together."""
        while self._waiting and len(self._sent) < self.engine.slots:
            _, ticket = heapq.heappop(self._waiting)
            if ticket in self._live:
                self._send(ticket)

    def _send(self, ticket: int) -> None:
        one = self._live[ticket]
        self._sent[one.name] = ticket
        known = one.known
        begins = None if known is None else salt(known.number, known.parts)
        if known is not None and not self.server.shares_prefixes:
            begins = one.name
        prompt: dict[str, Any] = {"prompt_token_ids": [*one.request.prompt_ids]}
        number = None if known is None else known.number
        own = known is not None and depends_on_prompt(known.parts)
        self.server.engine.add_request(
            one.name,
            prompt if begins is None else {**prompt, "cache_salt": begins},
            self._params.SamplingParams(
                temperature=0.0,  # where tokens are sampled, the worker does
                max_tokens=one.request.max_new_tokens,
                stop_token_ids=sorted(self.engine.loaded.eos_ids),
                ignore_eos=True,  # end tokens are the run's, in `stop_token_ids`
                detokenize=False,
                output_kind=self._params.RequestOutputKind.DELTA,
                extra_args={TICKET: ticket, STEERING: number, SEED: one.request.seed, OWN: own},
            ),
        )

    def _learn(self, requests: Sequence[Request]) -> list["_Known | None"]:
        """The steering of each request; workers hear of new ones, and of those that are over."""
        asked = [
            None if one.steering is None else _constant_residual(one.steering) for one in requests
        ]
        new: dict[object, _Known] = {}
        for steering in asked:
            if steering is not None and steering.key not in self._known:
                parts = tuple(
                    flat_steering(part, self.engine.table(part)) for part in steering.parts
                )
                self._known[steering.key] = _Known(next(_numbers), parts, steering)
                new[steering.key] = self._known[steering.key]
        found = [None if one is None else self._known[one.key] for one in asked]
        if new:
            in_use = {id(one) for one in (*found, *(live.known for live in self._live.values()))}
            gone = {key: one for key, one in self._known.items() if id(one) not in in_use}
            self._tell(new, gone)
        return found

    def _tell(self, new: Mapping[object, "_Known"], gone: Mapping[object, "_Known"]) -> None:
        self.server.call(
            "snakesteer_steerings",
            {one.number: one.parts for one in new.values()},
            [one.number for one in gone.values()],
        )
        for key in [*gone]:
            del self._known[key]

    def _check_memory(self, requests: Sequence[Request]) -> None:
        needed = max((len(one.prompt_ids) + one.max_new_tokens for one in requests), default=0)
        if needed > self.server.context:
            raise UserError(
                f"A prompt and its answer take {needed} tokens, and vLLM has memory for "
                f"{self.server.context}",
                "Lower prompt.shots or generation.max_new_tokens, or raise engine.tensor_parallel.",
            )

    def _forget(self, tickets: Sequence[int]) -> None:
        """What vLLM has ended itself is let pass there."""
        names = [self._live.pop(ticket).name for ticket in tickets]
        sent = [name for name in names if self._sent.pop(name, None) is not None]
        if sent:
            self.server.engine.abort_request(sent)

    def _grow(self, by: int) -> None:
        self._total += by
        self._bar.total = self._total
        self._bar.refresh()


def _constant_residual(steering: Steering) -> ResidualSteering:
    """The steering, if it is one that hooks on vLLM's blocks can do.

    Raises:
        UserError: Attention heads, the start of prompts, or a dynamic strength.
    """
    if not isinstance(steering, ResidualSteering) or steering.dac is not None:
        what = "a dynamic strength" if steering.dac is not None else f"kind {steering.kind}"
        raise UserError(
            f"engine.name is 'vllm', which cannot do {what}",
            "It has the method caa: set engine.name: slots for others.",
        )
    return steering
