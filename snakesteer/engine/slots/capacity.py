"""How much work the slots hold: sizes that the tensors of a decoder are made for."""

from dataclasses import dataclass

from snakesteer.engine.interface import Request
from snakesteer.engine.slots.attention import BLOCK
from snakesteer.engine.slots.parts import parts


@dataclass(frozen=True)
class Capacity:
    """What a decoder has room for, or what some work needs.

    Attributes:
        slots: Number of slots.
        blocks: Blocks of keys and values per slot, behind the shared prefix.
        shared: Length of the shared prefix.
        steps: Largest number of new tokens of a request.
        places: Largest number of layers that one part of a request's steering has.
        parts: Largest number of parts that a request's steering has.
        dynamic: Whether every slot has the three streams of a dynamic strength.
        head_steps: Largest number of steps in which the vectors of attention heads change; 0 if
            none are steered.
    """

    slots: int
    blocks: int
    shared: int
    steps: int
    places: int = 1
    dynamic: bool = False
    head_steps: int = 0
    parts: int = 1

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
            and work.dynamic == self.dynamic
            and work.blocks <= self.blocks
            and work.steps <= self.steps
            and work.places <= self.places
            and work.head_steps <= self.head_steps
            and work.parts <= self.parts
        )

    def with_room_for(self, work: "Capacity") -> "Capacity":
        """Room for this and that work, which are alike in slots, shared prefix and streams."""
        return Capacity(
            slots=self.slots,
            blocks=max(self.blocks, work.blocks),
            shared=self.shared,
            steps=max(self.steps, work.steps),
            places=max(self.places, work.places),
            dynamic=self.dynamic,
            head_steps=max(self.head_steps, work.head_steps),
            parts=max(self.parts, work.parts),
        )


def needed_for(request: Request, slots: int, shared: int) -> Capacity:
    """What one request needs.

    Args:
        request: The request.
        slots: Number of slots.
        shared: How many tokens of the shared prefix its prompt starts with.
    """
    found = parts(request)
    blocks = () if found.blocks is None else found.blocks.parts
    length = len(request.prompt_ids) + request.max_new_tokens - 1
    return Capacity(
        slots=slots,
        blocks=-(-(length - shared) // BLOCK),
        shared=shared,
        steps=request.max_new_tokens,
        places=max((len(part.places) for part in blocks), default=1),
        dynamic=request.is_dynamic,
        head_steps=0 if found.heads is None else len(found.heads.delta),
        parts=max(len(blocks), 1),
    )


def parting(request: Request) -> int:
    """The block behind which the streams of a dynamic strength part.

    Up to there they are equal, as their history is the same text. −1 where they share no block.
    """
    if not request.is_dynamic:
        return -1
    found = parts(request)
    if found.heads is not None:
        return min(found.heads.layers, default=0) - 1  # inside a block, behind the one before it
    assert found.blocks is not None
    return min(place.layer for place in found.blocks.places)
