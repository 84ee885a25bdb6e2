"""Keys and values of the slots engine: of a prompt being read, and of the slots being decoded."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from snakesteer.engine.slots.attention import BLOCK, Blocked


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


class _EngineCache(Cache):
    """What HuggingFace's models ask of a cache, where positions are given to them by the engine."""

    def __init__(self) -> None:
        super().__init__(layers=[])

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
        """All layers: ``[layers, 2, rows, kv_heads, new, head]``."""
        layers = [torch.stack(self.seen[layer]) for layer in sorted(self.seen)]
        return torch.stack(layers)


class SlotCache(_EngineCache):
    """Keys and values of all slots, block by block.

    Blocks come before slots in memory, so that the first blocks of all slots are one piece.

    Args:
        shape: Of one position.
        slots: Number of slots.
        blocks: Blocks of `BLOCK` positions per slot.
        shared: Length of the prefix that all slots share.
        device: Where it lives.
    """

    def __init__(
        self, shape: KvShape, slots: int, blocks: int, shared: int, device: torch.device
    ) -> None:
        super().__init__()
        own = (shape.layers, 2, blocks, slots, shape.heads, BLOCK, shape.width)
        self.own = torch.zeros(own, dtype=shape.dtype, device=device)
        prefix = (shape.layers, 2, shape.heads, shared, shape.width)
        self.shared = torch.zeros(prefix, dtype=shape.dtype, device=device) if shared else None
        self.rows = torch.arange(slots, device=device)
        self.used = blocks  # blocks that the running step looks at
        self.block = torch.zeros(slots, dtype=torch.long, device=device)
        self.offset = torch.zeros_like(self.block)

    def write_at(self, positions: Tensor, used: int) -> None:
        """Say where the next step's keys go.

        Args:
            positions: ``[slots]``, counted from the end of the shared prefix.
            used: Blocks that the step looks at.
        """
        self.block, self.offset, self.used = positions // BLOCK, positions % BLOCK, used

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Blocked, Blocked]:
        """Write ``[slots, kv_heads, 1, head]`` in place and return all that may be attended to."""
        keys, values = self.own[layer_idx]
        keys[self.block, self.rows, :, self.offset] = key[:, :, 0]
        values[self.block, self.rows, :, self.offset] = value[:, :, 0]
        shared = (None, None) if self.shared is None else self.shared[layer_idx]
        return (
            Blocked(shared[0], keys[: self.used]),
            Blocked(shared[1], values[: self.used]),
        )

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
