"""Keys and values of the slots engine: of a prompt being read, and of the slots being decoded."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from snakesteer.engine.slots.attention import BLOCK, Blocked
from snakesteer.engine.slots.capacity import Capacity

# Shared prefixes that slots may have at a time: prompts that are steered have one of their own.
PREFIXES = 8


@dataclass(frozen=True)
class KvShape:
    """Keys and values of one position; the same in every layer.

    Attributes:
        layers: Number of layers.
        heads: Key heads.
        width: Width of a head.
        dtype: Of keys and values.
    """

    layers: int
    heads: int
    width: int
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one position, all layers."""
        return 2 * self.layers * self.heads * self.width * self.dtype.itemsize


class _NoStates(list[Any]):
    """The layers of a cache that keeps keys and values alone: a model may ask for none of them."""

    def __getitem__(self, _index: Any) -> Any:
        raise NotImplementedError("some of its layers keep a state, in place of keys and values")


class _EngineCache(Cache):
    """What HuggingFace's models ask of a cache, where positions are given to them by the engine."""

    def __init__(self) -> None:
        super().__init__(layers=_NoStates())

    def get_seq_length(self, *_args: Any, **_kwargs: Any) -> int:
        return 0

    def get_query_offset(self, *_args: Any, **_kwargs: Any) -> int:
        return 0

    def get_mask_sizes(self, *args: Any, **_kwargs: Any) -> tuple[int, int]:
        return 1, 0  # unused: the mask knows the positions itself


class PromptCache(_EngineCache):
    """Collects the keys and values of prompts behind a prefix that is known already.

    Args:
        prefix: ``[layers, 2, kv_heads, prefix, head]``, None without one.
    """

    def __init__(self, prefix: Tensor | None = None) -> None:
        super().__init__()
        self.prefix = prefix
        self.seen: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep ``[rows, kv_heads, new, head]`` and return it behind the prefix."""
        self.seen[layer_idx] = (key, value)
        if self.prefix is None:
            return key, value
        rows = key.shape[0]
        before = self.prefix[layer_idx][:, None].expand(-1, rows, -1, -1, -1)
        return torch.cat([before[0], key], dim=2), torch.cat([before[1], value], dim=2)

    def stacked(self) -> Tensor:
        """All layers: ``[layers, 2, rows, kv_heads, new, head]``.

        Raises:
            NotImplementedError: There are none, or they are not all of one shape.
        """
        shapes = {tensor.shape for both in self.seen.values() for tensor in both}
        if len(shapes) != 1:
            found = "differ in shape" if shapes else "are not kept"
            raise NotImplementedError(f"the keys and values of its layers {found}")
        layers = [torch.stack(self.seen[layer]) for layer in sorted(self.seen)]
        return torch.stack(layers)


class SlotCache(_EngineCache):
    """Keys and values of all slots, block by block.

    Blocks come before slots in memory, so that the first blocks of all slots are one piece.

    Args:
        shape: Of one position.
        capacity: What there is room for.
        device: Where it lives.
        beside: A cache whose prefixes this one looks at, too.

    Attributes:
        prefix: ``[slots]`` int64, which of the prefixes a slot's text starts with.
    """

    def __init__(
        self,
        shape: KvShape,
        capacity: Capacity,
        device: torch.device,
        beside: "SlotCache | None" = None,
    ) -> None:
        super().__init__()
        slots, blocks = capacity.slots, capacity.blocks
        own = (shape.layers, 2, blocks, slots, shape.heads, BLOCK, shape.width)
        self.own = torch.zeros(own, dtype=shape.dtype, device=device)
        self.shared: Tensor | None = None  # [layers, 2, prefixes, kv_heads, shared, head]
        self.prefix = torch.zeros(slots, dtype=torch.long, device=device)
        if beside is not None:
            self.shared, self.prefix = beside.shared, beside.prefix
        elif capacity.shared:
            prefix = (2, PREFIXES, shape.heads, capacity.shared, shape.width)
            self.shared = torch.zeros(shape.layers, *prefix, dtype=shape.dtype, device=device)
        self.rows = torch.arange(slots, device=device)
        self.used, self.prefixes = blocks, 1  # what the running step looks at
        self.block = torch.zeros(slots, dtype=torch.long, device=device)
        self.offset = torch.zeros_like(self.block)

    def write_at(self, positions: Tensor, used: int, prefixes: int) -> None:
        """Say where the next step's keys go.

        Args:
            positions: ``[slots]``, counted from the end of the shared prefix.
            used: Blocks that the step looks at.
            prefixes: The same of shared prefixes.
        """
        self.block, self.offset, self.used = positions // BLOCK, positions % BLOCK, used
        self.prefixes = prefixes

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Blocked, Blocked]:
        """Write ``[slots, kv_heads, 1, head]`` in place and return all that may be attended to."""
        keys, values = self.own[layer_idx]
        keys[self.block, self.rows, :, self.offset] = key[:, :, 0]
        values[self.block, self.rows, :, self.offset] = value[:, :, 0]
        own = keys[: self.used], values[: self.used]
        if self.shared is None:
            return Blocked(None, own[0]), Blocked(None, own[1])
        shared = self.shared[layer_idx, :, : self.prefixes]
        return Blocked(shared[0], own[0], self.prefix), Blocked(shared[1], own[1], self.prefix)

    def fill(self, slot: int, prompt: Tensor | None) -> None:
        """Put a prompt's keys and values into a slot.

        Args:
            slot: Which one.
            prompt: ``[layers, 2, blocks, kv_heads, BLOCK, head]``; None if nothing precedes the
                token that the slot reads first.
        """
        blocks = 0
        if prompt is not None:
            blocks = prompt.shape[2]
            self.own[:, :, :blocks, slot] = prompt
        # A hidden value has weight 0, and 0 · NaN is NaN: nothing of the last row may stay.
        self.own[:, 1, blocks:, slot] = 0.0
