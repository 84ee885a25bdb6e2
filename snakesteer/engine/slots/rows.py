"""Steering as data: how every row of a forward pass is steered, and the hooks that do it.

A request's steering becomes one row of a few tensors, in `SteeredRows.put`. `RowSteering` puts what
these rows need into the outputs of the model's blocks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snakesteer.config import Operator
from snakesteer.engine.slots.columns import write_column
from snakesteer.engine.slots.gate_rows import GateRows
from snakesteer.engine.slots.head_rows import HeadHooks
from snakesteer.models.blocks import block_output, replace_block_output
from snakesteer.models.heads import Heads
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.operators import OPERATORS, apply_operator
from snakesteer.steering.residual import ResidualSteering, stacked_axes, stacked_places


def needed_operators(steerings: Iterable[ResidualSteering | None]) -> tuple[Operator, ...]:
    """Operators that rows need; none where one addition at one layer serves them all."""
    some = [steering for steering in steerings if steering is not None]
    return () if all(steering.is_plain for steering in some) else operators_of(some)


def operators_of(steerings: Iterable[ResidualSteering | None]) -> tuple[Operator, ...]:
    """The operators of rows, whatever they do beside."""
    found = {steering.operator for steering in steerings if steering is not None}
    return tuple(operator for operator in OPERATORS if operator in found)


class SteeredRows:
    """What each row adds to the outputs of blocks. Rows are unsteered until they are `put`.

    Args:
        loaded: The model.
        rows: Number of rows.
        places: Largest number of layers that a row steers.

    Attributes:
        layers: ``[rows, places]`` int64; −1 is none.
        vectors: ``[rows, places, hidden]`` float32.
        relative: ``[rows, places]`` float32, strengths in units of the row's first one.
        operators: ``[rows]`` int64, index into `OPERATORS`.
        axes: ``[rows, places, hidden]`` float32 for ``rotate``, from the first row on that has it.
        computed: Operators that are computed, those of others leave their rows alone; empty for one
            addition at one layer per row.
        gates: On which condition each row is steered.
        dtype: Of the model's residual stream.
    """

    def __init__(self, loaded: LoadedModel, rows: int, places: int) -> None:
        device = loaded.device
        hidden = loaded.model.config.get_text_config().hidden_size
        self.layers = torch.full((rows, places), -1, device=device)
        self.vectors = torch.zeros(rows, places, hidden, device=device)
        self.relative = torch.ones(rows, places, device=device)
        self.operators = torch.zeros(rows, dtype=torch.long, device=device)
        self.axes: Tensor | None = None
        self.computed: tuple[Operator, ...] = ()
        self.gates = GateRows(loaded, rows)
        self.dtype = loaded.dtype

    def put(self, at: Tensor, steerings: Sequence[ResidualSteering | None]) -> None:
        """Steer some rows anew.

        Args:
            at: ``[n]`` int64, which rows.
            steerings: n of them; None steers nothing.
        """
        self.gates.put(at, steerings)
        if all(one is None for one in steerings):
            self.layers[at] = -1
            self.vectors[at] = 0.0
            return
        operators = ["add" if one is None else one.operator for one in steerings]
        write_column(self.operators, at, [OPERATORS.index(operator) for operator in operators])
        layers, vectors, relative = stacked_places(steerings, count=self.layers.shape[1])
        self.layers[at] = layers.to(at.device)
        self.vectors[at] = vectors.to(at.device)
        self.relative[at] = relative.to(at.device)
        if "rotate" in operators:
            if self.axes is None:
                self.axes = torch.zeros_like(self.vectors)
            self.axes[at] = stacked_axes(steerings, vectors).to(at.device)

    def needed(self, steerings: Iterable[ResidualSteering | None]) -> None:
        """Compute what these need, and no more: all that are not idle."""
        found = list(steerings)
        self.computed = needed_operators(found)
        self.gates.computed = any(one is not None and one.gate is not None for one in found)

    def change(self, hidden: Tensor, layer: int, alphas: Tensor) -> Tensor:
        """The output of a block with each row steered, whatever its operator.

        Args:
            hidden: ``[rows, new, hidden]``.
            layer: Of the block.
            alphas: ``[rows, places]`` float32; 0 is off.
        """
        here = self.layers == layer  # [rows, places], at most one place per row
        alphas = torch.where(here, alphas, 0.0).sum(dim=1)  # [rows]
        rows = torch.arange(len(here), device=here.device)
        places = here.long().argmax(dim=1)
        vectors = self.vectors[rows, places][:, None]  # [rows, 1, hidden]
        for operator in self.computed:
            own = torch.where(self.operators == OPERATORS.index(operator), alphas, 0.0)[:, None]
            if self.gates.computed:
                own = own * self.gates.open  # [rows, new]
            axes = None
            if operator == "rotate":
                assert self.axes is not None
                axes = self.axes[rows, places][:, None]
            hidden = apply_operator(operator, hidden, vectors, own, axes)
        return hidden


# Rows, and the strength of each at its first layer, ``[rows]`` float32.
Scaled = tuple[SteeredRows, Tensor]


class RowSteering:
    """What every row of the next forward pass is steered with.

    Usually that is one addition at one layer per row. All blocks carry this same small addition,
    with zeros where a row is not steered, so that one computation serves every direction, layer and
    strength. Other operators, bands of layers and gates cost more, and are computed only where some
    row needs them; rows that do not have the same bits either way.

    Args:
        blocks: The model's decoder blocks.
        heads: Its attention heads; None where they are not found, and not steered.

    Attributes:
        heads: What the next forward pass does to attention heads; cleared with the rest.
    """

    def __init__(self, blocks: list[nn.Module], heads: Heads | None = None) -> None:
        self.blocks = blocks
        self.heads = HeadHooks(heads)
        self.clear()
        self._hooks = [self._hook(layer) for layer in range(len(blocks))]

    def clear(self) -> None:
        """Steer no row."""
        self.heads.clear()
        self._delta: Tensor | None = None  # [rows, 1, hidden], in the model's dtype
        self._where: Tensor | None = None  # [layers, rows, 1, 1], 1 where it is added
        self._in_turn: list[Scaled] = []  # with strengths ``[rows, places]``
        self._gates: GateRows | None = None

    def set(self, rows: SteeredRows, scale: Tensor, beside: Iterable[Scaled] = ()) -> None:
        """Set what the next forward pass does to the outputs of blocks.

        Args:
            rows: What its rows add.
            scale: ``[rows]`` float32, the strength at each row's first layer.
            beside: What they do next, in this order.
        """
        self.clear()
        if rows.gates.computed:
            self._gates = rows.gates
            self._gates.begin()
        if rows.computed:
            self._in_turn = [
                (some, strength[:, None] * some.relative)
                for some, strength in ((rows, scale), *beside)
                if some.computed
            ]
            return
        delta = (scale[:, None] * rows.vectors[:, 0]).to(rows.dtype)
        self._set(rows.layers[:, 0], delta[:, None])

    def set_positions(self, layer: int, delta: Tensor) -> None:
        """Let the next forward pass add something of its own to every position, alike in all rows.

        Args:
            layer: Behind which block.
            delta: ``[new, hidden]``, in the model's dtype.
        """
        self.clear()
        self._set(torch.tensor([layer], device=delta.device), delta[None])

    def _set(self, layer: Tensor, delta: Tensor) -> None:
        """Add ``[rows, new, hidden]`` behind the block ``[rows]``; one of each serves all."""
        layers = torch.arange(len(self.blocks), device=layer.device)
        self._where = (layers[:, None] == layer).to(delta.dtype)[:, :, None, None]
        self._delta = delta

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """A context in which all forward passes of the model are steered."""
        with ExitStack() as stack:
            stack.enter_context(self.heads.hooked())
            for block, hook in zip(self.blocks, self._hooks, strict=True):
                stack.callback(block.register_forward_hook(hook).remove)
            yield

    def _hook(self, layer: int) -> Callable[..., Any]:
        def change(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if self._gates is not None:
                self._gates.look(block_output(output), layer)
            if self._in_turn:
                hidden = block_output(output)
                for rows, alphas in self._in_turn:
                    hidden = rows.change(hidden, layer, alphas)
                return replace_block_output(output, hidden)
            if self._delta is None or self._where is None:
                return None
            # [rows, new, hidden] + [rows, 1, hidden] · [rows, 1, 1]; rows or 1 may be wider
            where = self._where[layer]
            if self._gates is not None:
                where = where * self._gates.open[:, :, None]
            hidden = torch.addcmul(block_output(output), self._delta, where)
            return replace_block_output(output, hidden)

        return change
