"""Steering of attention heads as data: what each row adds to them at its step.

Vectors change from step to step, and every layer has its own, so that they are too many to lie in
each row. They lie in a table that all rows look at: rows of trials that differ in strength alone,
or of other prompts, share them. A row says where its vectors begin.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snakesteer.engine.interface import Request
from snakesteer.engine.slots.columns import write_column
from snakesteer.errors import UserError
from snakesteer.models.blocks import check_layers
from snakesteer.models.heads import Heads, find_heads
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.heads import HeadSteering

PLACES = 8  # for steerings whose vectors differ; others wait until one of them has ended


def known_heads(loaded: LoadedModel) -> Heads | None:
    """The attention heads of a model, None if they are not found: see `check_heads`."""
    try:
        return find_heads(loaded.model)
    except UserError:
        return None


def check_heads(loaded: LoadedModel, requests: Iterable[Request]) -> None:
    """Refuse requests that steer heads which are not found.

    Raises:
        UserError: See `snakesteer.models.heads.find_heads`; or a layer that the model lacks.
    """
    for layers in {s.layers for r in requests if isinstance(s := r.steering, HeadSteering)}:
        check_layers(layers, len(find_heads(loaded.model).projections))


class HeadHooks:
    """What the heads of every row get in the next forward pass.

    Args:
        heads: The model's; None where they are not found, so that nothing is hooked.
    """

    def __init__(self, heads: Heads | None) -> None:
        self.heads = heads
        self.clear()

    def clear(self) -> None:
        """Steer no row."""
        self._table: Tensor | None = None
        self._entry: Tensor | None = None
        self._scale: Tensor | None = None

    def set(self, table: Tensor, entry: Tensor, scale: Tensor) -> None:
        """Set what the next forward pass, of one token per row, adds.

        Args:
            table: ``[layers, entries, heads · head_dim]`` float32.
            entry: ``[rows]`` int64, which of them each row adds.
            scale: ``[rows]`` float32, the factor on it.
        """
        self._table, self._entry, self._scale = table, entry, scale

    def added(self, layer: int) -> Tensor | None:
        """``[rows, heads · head_dim]`` float32 that a layer's heads get; None for nothing."""
        if self._table is None or self._entry is None or self._scale is None:
            return None
        return self._scale[:, None] * self._table[layer].index_select(0, self._entry)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """A context in which all forward passes of the model are steered."""
        projections = [] if self.heads is None else self.heads.projections
        handles = [
            projection.register_forward_pre_hook(self._hook(layer))
            for layer, projection in enumerate(projections)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int) -> Callable[..., Any]:
        def change(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            added = self.added(layer)
            if added is None:
                return None
            outputs: Tensor = inputs[0]  # [rows, 1, heads · head_dim]
            return outputs + added.to(outputs.dtype)[:, None], *inputs[1:]

        return change


class HeadRows:
    """Which vectors each row adds to the outputs of attention heads.

    Args:
        hooks: Of the model's heads, which are known.
        rows: Number of rows.
        steps: Largest number of steps that vectors change in.
        device: Where the state lives.

    Attributes:
        table: ``[layers, PLACES · (steps + 1) + 1, heads · head_dim]`` float32: of each place the
            vectors of every step, then what is added past them. The last entry is 0.
        first: ``[rows]`` int64, where a row's vectors begin.
        past: ``[rows]`` int64, how many steps they change in.
        computed: Whether anything is computed. A row without vectors has the same bits either way.
    """

    def __init__(self, hooks: HeadHooks, rows: int, steps: int, device: torch.device) -> None:
        assert hooks.heads is not None
        self.hooks = hooks
        self.length = steps + 1
        entries = PLACES * self.length + 1
        layers, width = len(hooks.heads.projections), hooks.heads.width
        self.table = torch.zeros(layers, entries, width, device=device)
        self.first = torch.full((rows,), entries - 1, device=device)
        self.past = torch.zeros_like(self.first)
        self.computed = False

    def fill(self, place: int, steering: HeadSteering) -> None:
        """Put a steering's vectors into a place."""
        steps = len(steering.delta)
        # [steps + 1, layers, width]
        delta = torch.cat([steering.delta.float(), steering.delta_at(steps)[None]])
        start = place * self.length
        self.table[:, start : start + self.length] = 0.0
        at = torch.tensor(steering.layers, dtype=torch.long, device=self.table.device)
        self.table[at, start : start + steps + 1] = delta.transpose(0, 1).to(self.table.device)

    def put(self, at: Tensor, steerings: Sequence[tuple[HeadSteering | None, int]]) -> None:
        """Steer some rows anew.

        Args:
            at: ``[n]`` int64, which rows.
            steerings: n of them, None for none, and the places that their vectors have.
        """
        zero = self.table.shape[1] - 1
        firsts = [zero if one is None else place * self.length for one, place in steerings]
        write_column(self.first, at, firsts)
        write_column(self.past, at, [0 if one is None else len(one.delta) for one, _ in steerings])

    def steer(self, scale: Tensor, step: Tensor) -> None:
        """Set what the next forward pass does.

        Args:
            scale: ``[rows]`` float32, the strength of each row.
            step: ``[rows]`` int64, where each is.
        """
        if not self.computed:
            return
        self.hooks.set(self.table, self.first + torch.minimum(step, self.past), scale)
