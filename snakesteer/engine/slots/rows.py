"""Steering as data: what changes the block outputs of every row of a forward pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snakesteer.config import Operator
from snakesteer.models.blocks import block_output, replace_block_output
from snakesteer.steering.operators import OPERATORS, steer


@dataclass(frozen=True, eq=False)
class Places:
    """Several layers per row, and an operator per row.

    Attributes:
        layers: ``[rows, places]`` int64; −1 is none.
        vectors: ``[rows, places, hidden]`` float32.
        alphas: ``[rows, places]`` float32; 0 is off.
        operators: ``[rows]`` int64, index into `OPERATORS`.
        kinds: The operators that are computed; those of other kinds leave their rows alone.
    """

    layers: Tensor
    vectors: Tensor
    alphas: Tensor
    operators: Tensor
    kinds: Sequence[Operator]

    def change(self, hidden: Tensor, layer: int) -> Tensor:
        """The output of a block, ``[rows, new, hidden]``, with each row steered."""
        here = self.layers == layer  # [rows, places], at most one place per row
        alphas = torch.where(here, self.alphas, 0.0).sum(dim=1)  # [rows]
        rows = torch.arange(len(here), device=here.device)
        vectors = self.vectors[rows, here.long().argmax(dim=1)]  # [rows, hidden]
        for kind in self.kinds:
            own = torch.where(self.operators == OPERATORS.index(kind), alphas, 0.0)
            hidden = steer(kind, hidden, vectors[:, None], own[:, None])
        return hidden


class RowSteering:
    """What every row of a forward pass is steered with.

    Usually that is one addition at one layer per row. All blocks carry this same small addition,
    with zeros where a row is not steered, so that one computation serves every direction, layer and
    strength. Other operators and bands of layers cost more, and are computed only where some row
    needs them; rows that do not have the same bits either way.

    Args:
        blocks: The model's decoder blocks.
    """

    def __init__(self, blocks: list[nn.Module]) -> None:
        self.blocks = blocks
        self._delta: Tensor | None = None
        self._where: Tensor | None = None
        self._places: Places | None = None
        self._hooks = [self._hook(layer) for layer in range(len(blocks))]

    def set(self, delta: Tensor | None, layer: Tensor | None) -> None:
        """Set what the next forward pass adds, at one layer per row.

        Args:
            delta: ``[rows, hidden]`` in the model's dtype; None adds nothing to any row.
            layer: ``[rows]`` int64, the block whose output `delta` is added to.
        """
        self._places = None
        if delta is None or layer is None:
            self._delta = self._where = None
            return
        layers = torch.arange(len(self.blocks), device=layer.device)
        self._where = (layers[:, None] == layer).to(delta.dtype)[:, :, None, None]
        self._delta = delta[:, None]

    def set_places(self, places: Places) -> None:
        """Set what the next forward pass does, at any number of layers per row."""
        self._places = places

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """A context in which all forward passes of the model are steered."""
        handles = [
            block.register_forward_hook(hook)
            for block, hook in zip(self.blocks, self._hooks, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int) -> Callable[..., Any]:
        def change(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if self._places is not None:
                hidden = self._places.change(block_output(output), layer)
                return replace_block_output(output, hidden)
            if self._delta is None or self._where is None:
                return None
            # [rows, new, hidden] + [rows, 1, hidden] · [rows, 1, 1]
            hidden = torch.addcmul(block_output(output), self._delta, self._where[layer])
            return replace_block_output(output, hidden)

        return change
