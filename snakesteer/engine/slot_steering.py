"""Steering as data: what is added to the block outputs of every row of a forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snakesteer.models.blocks import block_output, replace_block_output


class RowSteering:
    """One vector and one layer per row.

    All blocks carry the same small addition, with zeros where a row is not steered, so that one
    computation serves every method, layer and strength.

    Args:
        blocks: The model's decoder blocks.
    """

    def __init__(self, blocks: list[nn.Module]) -> None:
        self.blocks = blocks
        self._delta: Tensor | None = None
        self._where: Tensor | None = None
        self._hooks = [self._hook(layer) for layer in range(len(blocks))]

    def set(self, delta: Tensor | None, layer: Tensor | None) -> None:
        """Set what the next forward pass adds.

        Args:
            delta: ``[rows, hidden]`` in the model's dtype; None adds nothing to any row.
            layer: ``[rows]`` int64, the block whose output `delta` is added to.
        """
        if delta is None or layer is None:
            self._delta = self._where = None
            return
        layers = torch.arange(len(self.blocks), device=layer.device)
        self._where = (layers[:, None] == layer).to(delta.dtype)[:, :, None, None]
        self._delta = delta[:, None]

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
        def add(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if self._delta is None or self._where is None:
                return None
            # [rows, new, hidden] + [rows, 1, hidden] · [rows, 1, 1]
            hidden = torch.addcmul(block_output(output), self._delta, self._where[layer])
            return replace_block_output(output, hidden)

        return add
