"""Prompts that have been read, for the requests that still need them."""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from snakesteer.data.prompts import Ids
from snakesteer.engine.slots.prefill import Prefill


class PromptStore:
    """Reads prompts shortly before they are needed, and keeps what fits for the next call.

    Requests must come prompt by prompt, shortest prompts first; then few prompts wait at a time. A
    prompt that no waiting request needs is kept while all that are kept fit into the limit, and
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
        self._needed: Counter[Ids] = Counter()
        self._order: list[Ids] = []

    def expect(self, prompts: Sequence[Ids]) -> None:
        """Announce all coming calls of `take`, in their order."""
        self._waiting.clear()
        self._needed = Counter(prompts)
        self._order = list(dict.fromkeys(prompts))
        self._order.reverse()  # the next prompt is the last, so that popping is cheap

    def take(self, prompt: Ids) -> Tensor | None:
        """Keys and values of a prompt, see `Prefill.read`; None where there is nothing to read."""
        if self.prefill.blocks(len(prompt)) == 0:
            return None
        if prompt in self._kept:
            return self._kept[prompt]
        if prompt not in self._waiting:
            self._read_from(prompt)
        kv = self._waiting[prompt]
        self._needed[prompt] -= 1
        if self._needed[prompt] == 0:
            del self._waiting[prompt]
            size = kv.numel() * kv.element_size()
            if self.kept_bytes + size <= self.limit:
                self._kept[prompt] = kv
                self.kept_bytes += size
        return kv

    def _read_from(self, prompt: Ids) -> None:
        """Read a prompt, together with those behind it that fit into its batch."""
        blocks = self.prefill.blocks(len(prompt))
        rows = self.prefill.batch_rows(blocks)
        batch: list[Ids] = []
        while self._order and len(batch) < rows:
            candidate = self._order[-1]
            known = candidate in self._kept or self.prefill.blocks(len(candidate)) == 0
            if not known and self.prefill.blocks(len(candidate)) != blocks:
                break
            self._order.pop()
            if not known:
                batch.append(candidate)
        assert prompt in batch
        self._waiting.update(zip(batch, self.prefill.read(batch), strict=True))
