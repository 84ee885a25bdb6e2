"""How much work the slots hold: sizes that the tensors of a decoder are made for."""

from dataclasses import dataclass

from snakesteer.engine.slots.attention import BLOCK


@dataclass(frozen=True)
class Capacity:
    """What a decoder has room for, or what some work needs.

    Attributes:
        slots: Number of slots.
        blocks: Blocks of keys and values per slot, behind the shared prefix.
        shared: Length of the shared prefix.
        steps: Largest number of new tokens of a request.
        places: Largest number of layers that a request steers.
    """

    slots: int
    blocks: int
    shared: int
    steps: int
    places: int = 1

    @property
    def length(self) -> int:
        """Positions that a slot sees: those of the shared prefix, and its own."""
        return self.shared + self.blocks * BLOCK

    def holds(self, work: "Capacity") -> bool:
        """Whether a decoder of this capacity can run work that needs another one.

        The number of slots and the shared prefix are part of a result: they must be equal.
        """
        return (
            work.slots == self.slots
            and work.shared == self.shared
            and work.blocks <= self.blocks
            and work.steps <= self.steps
            and work.places <= self.places
        )
