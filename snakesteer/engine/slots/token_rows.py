"""Scopes by token as data: tables over the vocabulary, and which of them each row has."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snakesteer.engine.slots.columns import write_column
from snakesteer.models.loading import LoadedModel, vocabulary_size
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.tokens import TokenSet, token_table


class TokenRows:
    """At which tokens every row is steered. What a row reads is looked up on the device.

    Args:
        loaded: The model.
        rows: Number of rows.

    Attributes:
        table: ``[sets, vocab]`` bool. The first row is all tokens, as of scopes by position; it
            grows with every set that was not there before.
        row: ``[rows]`` int64, into `table`.
    """

    def __init__(self, loaded: LoadedModel, rows: int) -> None:
        self.loaded = loaded
        size = vocabulary_size(loaded)
        self.table = torch.ones(1, size, dtype=torch.bool, device=loaded.device)
        self.row = torch.zeros(rows, dtype=torch.long, device=loaded.device)
        self._known: dict[TokenSet | None, int] = {None: 0}

    def put(self, at: Tensor, steerings: Sequence[ResidualSteering | HeadSteering | None]) -> None:
        """Set the tokens of some rows.

        Args:
            at: ``[n]`` int64, which rows.
            steerings: n of them.

        Raises:
            UserError: A set that the model's vocabulary does not have.
        """
        sets = [None if one is None else one.token_set for one in steerings]
        for tokens in dict.fromkeys(sets):
            if tokens is not None and tokens not in self._known:
                new = token_table(self.loaded.tokenizer, self.table.shape[1], tokens)
                self.table = torch.cat([self.table, new[None].to(self.table.device)])
                self._known[tokens] = len(self._known)
        write_column(self.row, at, [self._known[tokens] for tokens in sets])

    def at(self, token: Tensor) -> Tensor:
        """Whether rows are steered where they read these tokens, ``[rows]`` → ``[rows]`` bool."""
        return self.table[self.row, token]
