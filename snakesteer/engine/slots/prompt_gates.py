"""Gates that a prompt decides, asked before its request gets a slot.

The score is that of the last prompt token, read in one further pass up to the gate's block. No row
need know its own prompt's decision while it reads it, so that scopes which reach the prompt are no
special case: a request whose gate is closed is one at strength 0.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch

from snakesteer.data.prompts import Ids
from snakesteer.engine.interface import Request
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.steering.gates import Gate
from snakesteer.steering.residual import ResidualSteering


class PromptGates:
    """Knows which prompts open which gates.

    Args:
        reader: Shared prefix in, a reader of unsteered prompts out.
        shared: The tokens that a request's prompt shares with others.
    """

    def __init__(self, reader: Callable[[Ids], Prefill], shared: Callable[[Request], Ids]) -> None:
        self._reader = reader
        self._shared = shared
        self._readers: dict[Ids, Prefill] = {}
        self._known: dict[
            tuple[Ids, tuple[object, ...]], bool
        ] = {}  # prompt, gate → whether it is open

    def forget(self) -> None:
        """Free all memory."""
        self._readers.clear()

    def settled(self, requests: Sequence[Request]) -> list[Request]:
        """Requests in their order, those at strength 0 whose gate their prompt leaves closed."""
        asked = {(one.prompt_ids, gate.key): one for one in requests if (gate := _gate_of(one))}
        groups: dict[tuple[tuple[object, ...], Ids, int], list[Request]] = {}
        for (prompt, key), one in asked.items():
            if (prompt, key) not in self._known:
                shared = self._shared(one)
                width = self._prefill(shared).width(len(prompt) + 1)
                groups.setdefault((key, shared, width), []).append(one)
        for (key, shared, width), members in groups.items():
            rows = self._prefill(shared).batch_rows(width)
            for start in range(0, len(members), rows):
                self._ask(key, shared, members[start : start + rows])
        return [self._settled(one) for one in requests]

    @torch.inference_mode()
    def _ask(self, key: tuple[object, ...], shared: Ids, requests: Sequence[Request]) -> None:
        gate = _gate_of(requests[0])
        assert gate is not None
        prompts = [one.prompt_ids for one in requests]
        hidden = self._prefill(shared).last_outputs(prompts, gate.layer)
        opened: Iterable[bool] = gate.opens(hidden).tolist()
        self._known.update(zip(((prompt, key) for prompt in prompts), opened, strict=True))

    def _prefill(self, shared: Ids) -> Prefill:
        if shared not in self._readers:
            self._readers[shared] = self._reader(shared)
        return self._readers[shared]

    def _settled(self, one: Request) -> Request:
        gate = _gate_of(one)
        if gate is None or self._known[one.prompt_ids, gate.key]:
            return one
        assert one.steering is not None
        return replace(one, steering=one.steering.off)


def _gate_of(request: Request) -> Gate | None:
    """The gate that a request's prompt decides, if there is something to decide."""
    steering = request.steering
    if not isinstance(steering, ResidualSteering) or steering.alpha == 0.0:
        return None
    return steering.gate if steering.gate is not None and steering.gate.when == "prompt" else None
