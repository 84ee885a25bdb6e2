"""Columns: tensors with one entry per row. Rows of every kind have a strength."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.positions import FOREVER
from snakesteer.steering.residual import ResidualSteering


def write_column(column: Tensor, at: Tensor, values: Sequence[Any]) -> None:
    """Write Python values into some entries of a tensor, which stays where it is.

    Args:
        column: ``[rows]``, any dtype.
        at: ``[n]`` int64, which entries.
        values: n of them.
    """
    column[at] = torch.tensor(values, dtype=column.dtype, device=column.device)


class StepStrengths:
    """How strongly every row is steered at its step, where that does not depend on the text.

    Args:
        rows: Number of rows.
        device: Where the state lives.

    Attributes:
        alpha: ``[rows]`` float32, at the first step (and, in a band, at the first layer).
        first_step: ``[rows]`` int64, the first steered step.
        end_step: ``[rows]`` int64, the first step behind the last steered one.
        spared: ``[rows]`` int64, the first step that is left out among these.
        again: ``[rows]`` int64, the first step behind those that are left out.
        fades: ``[rows]`` bool, whether the strength falls to 0 until then.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.alpha = torch.zeros(rows, device=device)
        self.first_step = torch.zeros(rows, dtype=torch.long, device=device)
        self.end_step = torch.zeros_like(self.first_step)
        self.spared = torch.zeros_like(self.first_step)
        self.again = torch.zeros_like(self.first_step)
        self.fades = torch.zeros(rows, dtype=torch.bool, device=device)

    def put(self, at: Tensor, steerings: Sequence[ResidualSteering | HeadSteering | None]) -> None:
        """Set the strengths of some rows.

        Args:
            at: ``[n]`` int64, which rows.
            steerings: n of them; None steers nothing.
        """
        steps = [(0, FOREVER) if one is None else one.steered_steps for one in steerings]
        spared = [(0, 0) if one is None else one.spared_steps for one in steerings]
        write_column(self.alpha, at, [0.0 if one is None else one.alpha for one in steerings])
        write_column(self.first_step, at, [first for first, _ in steps])
        write_column(self.end_step, at, [end for _, end in steps])
        write_column(self.spared, at, [first for first, _ in spared])
        write_column(self.again, at, [end for _, end in spared])
        write_column(self.fades, at, [one is not None and one.fades for one in steerings])

    def at(self, step: Tensor) -> Tensor:
        """The strengths at one step per row, ``[rows]`` → ``[rows]``: 0 where it is not steered."""
        active = (step >= self.first_step) & (step < self.end_step)
        active &= (step < self.spared) | (step >= self.again)
        left = (self.end_step - step) / self.end_step.clamp(min=1)
        return self.alpha * active * torch.where(self.fades, left, 1.0)
