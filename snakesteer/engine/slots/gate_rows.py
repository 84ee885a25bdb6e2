"""Gates as data: what every row's gate looks at, and where it is open in a pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snakesteer.engine.slots.columns import write_column
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.gates import gate_scores
from snakesteer.steering.residual import ResidualSteering


class GateRows:
    """The gates of rows that decide token by token; all other rows are open everywhere.

    Gates that a prompt decides are asked before a row is there
    (`snakesteer.engine.slots.prompt_gates`).

    Args:
        loaded: The model.
        rows: Number of rows.

    Attributes:
        layer: ``[rows]`` int64, the block that is looked at; −1 is none.
        unit: ``[rows, hidden]`` float32, the direction at length 1.
        cosine: ``[rows]`` bool; the score is the projection where it is not the cosine.
        threshold: ``[rows]`` float32.
        above: ``[rows]`` bool, the side of the threshold on which the gate is open.
        computed: Whether any row has a gate; without, nothing is computed.
        steered: ``[rows]`` float32, 1 where the last step's token was steered; only where
            `computed`.
    """

    def __init__(self, loaded: LoadedModel, rows: int) -> None:
        device = loaded.device
        hidden = loaded.model.config.get_text_config().hidden_size
        self.layer = torch.full((rows,), -1, device=device)
        self.unit = torch.zeros(rows, hidden, device=device)
        self.cosine = torch.zeros(rows, dtype=torch.bool, device=device)
        self.threshold = torch.zeros(rows, device=device)
        self.above = torch.zeros(rows, dtype=torch.bool, device=device)
        self.computed = False
        self.steered = torch.zeros(rows, device=device)
        self._open: Tensor | None = None

    def put(self, at: Tensor, steerings: Sequence[ResidualSteering | None]) -> None:
        """Set the gates of some rows.

        Args:
            at: ``[n]`` int64, which rows.
            steerings: n of them.
        """
        gates = [None if one is None else one.gate for one in steerings]
        gates = [None if gate is None or gate.when == "prompt" else gate for gate in gates]
        write_column(self.layer, at, [-1 if gate is None else gate.layer for gate in gates])
        if not any(gates):
            return
        zeros = torch.zeros(self.unit.shape[1])
        units = torch.stack([zeros if gate is None else gate.unit for gate in gates])
        self.unit[at] = units.to(at.device)
        write_column(self.cosine, at, [g is not None and g.score == "cosine" for g in gates])
        write_column(self.threshold, at, [0.0 if g is None else g.threshold for g in gates])
        write_column(self.above, at, [g is not None and g.side == "above" for g in gates])

    def begin(self) -> None:
        """A pass begins, in which nothing has been looked at."""
        self._open = None

    def look(self, hidden: Tensor, layer: int) -> None:
        """Look at the output of a block before it is steered; layers come in their order.

        Args:
            hidden: ``[rows, new, hidden]``.
            layer: Of the block.
        """
        score = gate_scores(hidden, self.unit[:, None], self.cosine[:, None])  # [rows, new]
        threshold = self.threshold[:, None]
        beyond = torch.where(self.above[:, None], score > threshold, score < threshold)
        before = torch.ones_like(beyond) if self._open is None else self._open
        self._open = torch.where((self.layer == layer)[:, None], beyond, before)

    @property
    def open(self) -> Tensor:
        """Where the gates are open that have been looked at in this pass, ``[rows, new]`` bool."""
        assert self._open is not None
        return self._open

    def note(self, scale: Tensor) -> None:
        """Keep which rows were steered in a pass over one token each.

        Args:
            scale: ``[rows]``, the strength if the gate is open.
        """
        self.steered.copy_((scale != 0.0) & self.open[:, -1])
