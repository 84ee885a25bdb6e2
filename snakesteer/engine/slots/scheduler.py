"""Who is decoded now, and who comes next: requests move from a queue to slots, and give them back.

All of it is bookkeeping on the CPU, which knows nothing of the model.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from snakesteer.engine.interface import Finish, Request
from snakesteer.engine.slots.dac import SLOTS_PER_REQUEST
from snakesteer.engine.stopping import StopRule


@dataclass(eq=False)
class Live:
    """A request that is being decoded.

    Attributes:
        index: Of the request.
        request: The request.
        slots: Its slots; the first one's tokens count.
        position: Of the token read next.
        tokens: Chosen so far.
        alphas: α_t of each of them; none where the strength is not dynamic.
    """

    index: int
    request: Request
    slots: list[int]
    position: int
    tokens: list[int] = field(default_factory=list)
    alphas: list[float] = field(default_factory=list)


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
        requests: Index → request.
        slots: Number of slots, at least as many as one request takes.
        blocks: Length of a prompt → blocks that it fills.
        ends: Says when a request ends.

    Attributes:
        order: Indices in the order in which requests start: prompt by prompt, shortest prompts
            first, as `PromptStore` wants them.
        live: The requests that hold slots.
    """

    def __init__(
        self,
        requests: Mapping[int, Request],
        slots: int,
        blocks: Callable[[int], int],
        ends: Ends,
    ) -> None:
        self.requests = requests
        self.ends = ends
        self.order = _in_order(requests, blocks)
        self.live: list[Live] = []
        self._queue = deque(self.order)
        self._free = list(range(slots))

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return bool(self._queue or self.live)

    @property
    def last_position(self) -> int:
        """The largest position that a live request reads next."""
        return max(one.position for one in self.live)

    def refill(self) -> list[Live]:
        """Give free slots to the next requests; those that start now."""
        started: list[Live] = []
        while self._queue:
            index = self._queue[0]
            request = self.requests[index]
            needed = SLOTS_PER_REQUEST if request.is_dynamic else 1
            if needed > len(self._free):
                break
            self._queue.popleft()
            slots = [self._free.pop() for _ in range(needed)]
            started.append(Live(index, request, slots, position=len(request.prompt_ids) - 1))
        self.live += started
        return started

    def collect(
        self, tokens: Sequence[Sequence[int]], alphas: Sequence[Sequence[float]] = ()
    ) -> list[tuple[Live, Finish]]:
        """Hand out new tokens; the requests that end with them, which give back their slots.

        Args:
            tokens: ``[ticks][slots]``, −1 where a slot chose none.
            alphas: ``[ticks][slots]``, α_t of each; for calls in which some request has it.
        """
        ended: list[tuple[Live, Finish]] = []
        for one in self.live:
            slot = one.slots[0]
            own = [tick[slot] for tick in alphas] if one.request.is_dynamic else []
            finish = self._extend(one, [tick[slot] for tick in tokens], own)
            if finish is not None:
                ended.append((one, finish))
        for one, _ in ended:
            self.live.remove(one)
            self._free += one.slots
        return ended

    def _extend(self, one: Live, tokens: Sequence[int], alphas: Sequence[float]) -> Finish | None:
        """Append new tokens up to the request's end; why it ends, or None."""
        for tick, token in enumerate(tokens):
            if token < 0:
                continue
            one.tokens.append(token)
            one.alphas += alphas[tick : tick + 1]
            one.position += 1
            finish = self.ends.finish(one.tokens, one.request.max_new_tokens)
            if finish is not None:
                return finish
        return None


def _in_order(requests: Mapping[int, Request], blocks: Callable[[int], int]) -> list[int]:
    """Indices by the blocks of the prompt, then by the prompt, then as they are given."""
    first_seen: dict[tuple[int, ...], int] = {}
    for request in requests.values():
        first_seen.setdefault(request.prompt_ids, len(first_seen))

    def turn(index: int) -> tuple[int, int]:
        prompt = requests[index].prompt_ids
        return blocks(len(prompt)), first_seen[prompt]

    return sorted(requests, key=turn)
