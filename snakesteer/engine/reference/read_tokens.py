"""Scopes by token: what the rows of a batch read, and whether they are steered there."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snakesteer.models.loading import LoadedModel, vocabulary_size
from snakesteer.steering.tokens import TokenSet, token_table


class ReadTokens:
    """The last token of every row, in the pass that is under way.

    Args:
        loaded: The model.
        sets: For every row the tokens that are steered; None for all.

    Raises:
        UserError: A set that the model's vocabulary does not have.
    """

    def __init__(self, loaded: LoadedModel, sets: Sequence[TokenSet | None]) -> None:
        self.loaded = loaded
        size = vocabulary_size(loaded)
        self.tables = [
            None if one is None else token_table(loaded.tokenizer, size, one) for one in sets
        ]
        self._ids: Tensor = torch.zeros(len(sets), dtype=torch.long)

    def steers(self, row: int) -> bool:
        """Whether a row reads a token that is steered."""
        table = self.tables[row]
        return table is None or bool(table[self._ids[row]])

    @contextmanager
    def read_with(self, hooks: AbstractContextManager[None]) -> Iterator[None]:
        """A context of hooks that may ask for it."""
        handle = self.loaded.model.register_forward_pre_hook(self._look, with_kwargs=True)
        try:
            with hooks:
                yield
        finally:
            handle.remove()

    def _look(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(table is not None for table in self.tables):
            ids = args[0] if args else kwargs["input_ids"]
            self._ids = ids[:, -1].cpu()
