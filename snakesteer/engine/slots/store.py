"""Prompts that have been read, for the requests that still need them."""

from collections import Counter
from collections.abc import Callable, Hashable

from torch import Tensor

from snakesteer.data.prompts import Ids
from snakesteer.engine.interface import Request
from snakesteer.engine.slots.parts import PromptSteering, parts, reading
from snakesteer.engine.slots.prefill import Prefill


class PromptStore:
    """Reads prompts shortly before they are needed, and keeps what fits for later requests.

    A prompt that no waiting request needs is kept while all that are kept fit into the limit, and
    dropped otherwise: a search reads the same prompts over and over.

    Args:
        prefill: Reads prompts.
        limit: Bytes kept beyond what waiting requests need.
    """

    def __init__(self, prefill: Prefill, limit: int) -> None:
        self.prefill = prefill
        self.limit = limit
        self.kept_bytes = 0
        self._kept: dict[Ids, Tensor] = {}
        self._waiting: dict[Ids, Tensor] = {}
        self._needed: Counter[Ids] = Counter()  # of prompts that have something to read

    def expect(self, prompt: Ids) -> None:
        """Announce a coming call of `take`, or of `forget`."""
        if self.prefill.width(len(prompt)) > 0:
            self._needed[prompt] += 1

    def take(self, prompt: Ids) -> Tensor | None:
        """Keys and values of a prompt, see `Prefill.read`; None where there is nothing to read."""
        if self.prefill.width(len(prompt)) == 0:
            return None
        if prompt not in self._kept and prompt not in self._waiting:
            self._read_with(prompt)
        kv = self._kept[prompt] if prompt in self._kept else self._waiting[prompt]
        self.forget(prompt)
        return kv

    def forget(self, prompt: Ids) -> None:
        """A request that was announced needs its prompt no more."""
        if prompt not in self._needed:
            return
        self._needed[prompt] -= 1
        if self._needed[prompt] > 0:
            return
        del self._needed[prompt]
        kv = self._waiting.pop(prompt, None)
        if kv is not None:
            size = kv.numel() * kv.element_size()
            if self.kept_bytes + size <= self.limit:
                self._kept[prompt] = kv
                self.kept_bytes += size

    def _read_with(self, prompt: Ids) -> None:
        """Read a prompt, together with other expected ones that fit into its batch."""
        width = self.prefill.width(len(prompt))
        batch = [prompt]
        for other in self._needed:
            if len(batch) == self.prefill.batch_rows(width):
                break
            known = other == prompt or other in self._kept or other in self._waiting
            if not known and self.prefill.width(len(other)) == width:
                batch.append(other)
        self._waiting.update(zip(batch, self.prefill.read(batch), strict=True))


class PromptStores:
    """The stores of all requests: one for every way to read a prompt.

    Args:
        make: Shared prefix and steering of the prompt in, its reader out.
        limit: Bytes kept of unsteered prompts. Others are dropped with their last request.
    """

    def __init__(self, make: Callable[[Ids, PromptSteering | None], Prefill], limit: int) -> None:
        self.make = make
        self.limit = limit
        self._stores: dict[Hashable, PromptStore] = {}
        self._users: Counter[Hashable] = Counter()  # of steered prompts

    def expect(self, request: Request, shared: Ids) -> None:
        """Announce a request: `forget` must follow."""
        self.of(request, shared).expect(request.prompt_ids)
        self._users[reading(request), shared] += 1

    def of(self, request: Request, shared: Ids) -> PromptStore:
        """The store that a request's prompt comes from."""
        how = reading(request)
        key = (how, shared)
        if key not in self._stores:
            limit = self.limit if how is None else 0
            self._stores[key] = PromptStore(self.make(shared, parts(request).prompt), limit)
        return self._stores[key]

    def forget(self, request: Request, shared: Ids) -> None:
        """A request has ended, or was dropped."""
        key = (reading(request), shared)
        self._users[key] -= 1
        if self._users[key] == 0 and key[0] is not None:
            del self._stores[key], self._users[key]
