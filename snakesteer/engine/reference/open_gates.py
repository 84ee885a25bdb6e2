"""Gates in a batch: what they look at, and where they are open in the pass that is under way."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from torch import Tensor

from snakesteer.engine.interface import Generation
from snakesteer.steering.residual import ResidualSteering


class OpenGates:
    """The gates of the rows of a batch, and what they let through.

    Args:
        steerings: One per row; those without a gate are open everywhere.
    """

    def __init__(self, steerings: Sequence[ResidualSteering | None]) -> None:
        self.steerings = steerings
        self._open: dict[int, Tensor] = {}  # row → [seq] bool
        self._steered: dict[int, list[bool]] = {}  # row → whether each step was steered

    @property
    def layers(self) -> set[int]:
        """Blocks that are looked at."""
        return {s.gate.layer for s in self.steerings if s is not None and s.gate is not None}

    def look(self, layer: int, step: int, hidden: Tensor) -> None:
        """Look at the output of a block ``[batch, seq, hidden]`` before it is steered."""
        for row, steering in enumerate(self.steerings):
            if steering is None or steering.gate is None or steering.gate.layer != layer:
                continue
            if steering.gate.when == "token":
                self._open[row] = steering.gate.opens(hidden[row]).cpu()
            elif step == 0:
                self._open[row] = steering.gate.opens(hidden[row, -1:]).cpu()

    def through(self, row: int, where: Tensor) -> Tensor:
        """The positions of a scope, ``[seq]`` bool, at which a row's gate is open."""
        return where & self._open[row] if row in self._open else where

    def note(self, row: int, steered: bool) -> None:
        """Keep whether the last position of a row with a gate was steered, once in every pass."""
        if row in self._open:
            self._steered.setdefault(row, []).append(steered)

    def told(self, generations: Sequence[Generation]) -> list[Generation]:
        """The batch's generations, with the share of their tokens that were steered."""
        return [
            replace(one, steered_share=fmean(self._steered[row][: one.num_tokens]))
            if row in self._steered
            else one
            for row, one in enumerate(generations)
        ]
