"""What rows do beside their first steering, as data: the further ones of several vectors.

Each is one more set of columns, with layers, operator, positions and strength of its own. What a
row has at one layer is done in the order of the sets.
"""

from collections.abc import Hashable, Sequence

from torch import Tensor

from snakesteer.engine.slots.columns import StepStrengths
from snakesteer.engine.slots.rows import Scaled, SteeredRows, operators_of
from snakesteer.engine.slots.token_rows import TokenRows
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.residual import ResidualSteering


class BesideRows:
    """One further steering of every row. Rows have none until they are `put`.

    Args:
        loaded: The model.
        rows: Number of rows.
        places: Largest number of layers that a row steers.
        number: Which part of a row's steering; the first one, 0, is not here.
    """

    def __init__(self, loaded: LoadedModel, rows: int, places: int, number: int) -> None:
        self.number = number
        self.rows = SteeredRows(loaded, rows, places)
        self.strengths = StepStrengths(rows, loaded.device)
        self.tokens = TokenRows(loaded, rows)

    def put(self, at: Tensor, steerings: Sequence[ResidualSteering | None]) -> None:
        """Steer some rows anew.

        Args:
            at: ``[n]`` int64, which rows.
            steerings: n of them, whole; only this part of each is taken.
        """
        own = self._own(steerings)
        self.rows.put(at, own)
        self.strengths.put(at, own)
        self.tokens.put(at, own)

    def look(self, steerings: Sequence[ResidualSteering | None]) -> None:
        """Let the step compute what these need, and nothing where none has this part."""
        self.rows.computed = operators_of(self._own(steerings))

    def at(self, step: Tensor, token: Tensor) -> Scaled:
        """The rows, and their strengths ``[rows]`` where they read these tokens at these steps."""
        return self.rows, self.strengths.at(step) * self.tokens.at(token)

    @property
    def captured(self) -> Hashable:
        """Equal where a captured step can be used again."""
        return self.rows.computed, len(self.tokens.table)

    def _own(self, steerings: Sequence[ResidualSteering | None]) -> list[ResidualSteering | None]:
        found = [() if one is None else one.parts for one in steerings]
        return [parts[self.number] if len(parts) > self.number else None for parts in found]
