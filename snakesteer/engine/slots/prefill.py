"""Reading prompts: keys and values of every prompt position but the last.

The last prompt token is read by the slot, as step 0, because that is where most scopes start to
steer. What is read here is thus the same for every trial (or for one trial, under scope ``all``),
and is read once.

Prompts are read in batches whose shape follows from the length of the prompts alone (never from how
many there are), so that a prompt's bits do not depend on which others are read with it.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from snakesteer.engine.slots.attention import BLOCK, set_positions
from snakesteer.engine.slots.cache import PromptCache
from snakesteer.engine.slots.parts import PromptSteering
from snakesteer.engine.slots.rows import RowSteering, Scaled, SteeredRows, operators_of
from snakesteer.engine.watch import Watch
from snakesteer.models.arguments import cache_argument
from snakesteer.models.blocks import blocks_up_to, on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering

TOKENS_ON_CPU = 256
TOKENS_ON_GPU = 8192
WIDTH_STEP = 16  # prompts are read in lengths that are multiples of it


def prompt_width(length: int, shared: int) -> int:
    """Positions of a prompt that are read behind its shared prefix: padded, without the last."""
    return -(-(length - 1 - shared) // WIDTH_STEP) * WIDTH_STEP


class Prefill:
    """Reads prompts that start with the same tokens under the same steering.

    Args:
        loaded: The model.
        steering: `RowSteering` of its blocks.
        shared: Token ids that all prompts start with; may be empty.
        how: What is added to prompts; None for those that are not steered.
        watch: Who looks on, if anyone.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        steering: RowSteering,
        shared: Sequence[int],
        how: PromptSteering | None,
        watch: Watch | None = None,
    ) -> None:
        self.loaded = loaded
        self.steering = steering
        self.how = how
        self.watch = watch
        self.tokens = TOKENS_ON_CPU if loaded.device.type == "cpu" else TOKENS_ON_GPU
        self.shared = tuple(shared)

    @cached_property
    def prefix(self) -> Tensor | None:
        """``[layers, 2, kv_heads, shared, head]``, read when it is first needed."""
        if not self.shared:
            return None
        return self._read([self.shared], 0, len(self.shared), None).squeeze(2)

    def width(self, prompt_length: int) -> int:
        """See `prompt_width`; 0 where there is nothing to read."""
        return prompt_width(prompt_length, len(self.shared))

    def batch_rows(self, width: int) -> int:
        """How many prompts of one width are read together."""
        return max(1, self.tokens // width)

    def read(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Keys and values of up to `batch_rows` prompts that have the same width.

        Returns:
            For each ``[layers, 2, blocks, kv_heads, BLOCK, head]``, with zeros behind the width.
        """
        width = self.width(len(prompts[0]))
        blocks = -(-width // BLOCK)
        start = len(self.shared)
        rows = [prompt[start:-1] for prompt in prompts]
        rows += [rows[-1]] * (self.batch_rows(width) - len(rows))
        kv = self._read(rows, start, width, self.prefix)[:, :, : len(prompts)]
        kv = pad(kv, (0, 0, 0, blocks * BLOCK - width))
        kv = kv.unflatten(4, (blocks, BLOCK))  # [layers, 2, rows, kv_heads, blocks, BLOCK, head]
        return [row.transpose(2, 3).contiguous() for row in kv.unbind(2)]

    def last_outputs(self, prompts: Sequence[Sequence[int]], layer: int) -> Tensor:
        """The output of a block at the last tokens of prompts, unsteered.

        Args:
            prompts: Up to `batch_rows` that have one width, with one token more.
            layer: Of the block; those behind it compute nothing.

        Returns:
            ``[prompts, hidden]``.
        """
        start, width = len(self.shared), self.width(len(prompts[0]) + 1)
        rows = [prompt[start:] for prompt in prompts]
        rows += [rows[-1]] * (self.batch_rows(width) - len(rows))
        prefix = self.prefix
        found: list[Tensor] = []
        self.steering.clear()
        with (
            blocks_up_to(self.loaded.blocks, layer),
            on_block_outputs(self.loaded.blocks, {layer: found.append}),
        ):
            self._forward(rows, start, width, prefix)
        last = torch.tensor([len(prompt) - start - 1 for prompt in prompts])
        return found[0][torch.arange(len(prompts)), last.to(found[0].device)]

    def _read(
        self, rows: Sequence[Sequence[int]], start: int, length: int, prefix: Tensor | None
    ) -> Tensor:
        """``[layers, 2, rows, kv_heads, length, head]`` of token ids padded on the right."""
        self._steer(len(rows), start, length)
        if self.watch is not None:
            self.watch.follow({})
            self.watch.begin("real")
        cache = self._forward(rows, start, length, prefix)
        if self.watch is not None:
            self.watch.passed(length, start, None)
        return cache.stacked()

    def _forward(
        self, rows: Sequence[Sequence[int]], start: int, length: int, prefix: Tensor | None
    ) -> PromptCache:
        """Run the body over rows padded on the right; the keys and values that it made."""
        device = self.loaded.device
        ids = torch.full((len(rows), length), self.loaded.pad_id)
        for row, token_ids in enumerate(rows):
            ids[row, : len(token_ids)] = torch.tensor(token_ids)
        # Padding may lie behind the last position that the model has; nothing reads what is there.
        positions = torch.arange(start, start + length, device=device)
        last = None if self.loaded.context is None else self.loaded.context - 1
        positions = positions.clamp(max=last)
        cache = PromptCache(prefix)
        set_positions(positions[None], torch.arange(start + length, device=device), None)
        self.body(
            input_ids=ids.to(device),
            position_ids=positions.expand(len(rows), -1),
            use_cache=True,
            **{cache_argument(self.body): cache},
        )
        return cache

    @property
    def body(self) -> Any:
        """The model without its output layer, which no prompt position needs."""
        return self.loaded.model.base_model

    def _steer(self, rows: int, start: int, length: int) -> None:
        match self.how:
            case None:
                self.steering.clear()
            case PromptStartSteering() as one:
                self._steer_start(one, start, length)
            case ResidualSteering() as one:
                first, *beside = (self._rows_of(part, rows) for part in one.parts)
                first[0].needed([one])
                self.steering.set(*first, beside)

    def _rows_of(self, part: ResidualSteering, rows: int) -> Scaled:
        """The rows of a pass, all steered by one part of a steering."""
        device = self.loaded.device
        steered = SteeredRows(self.loaded, rows, len(part.places))
        steered.put(torch.arange(rows, device=device), [part] * rows)
        steered.computed = operators_of([part])
        return steered, torch.full((rows,), part.alpha, device=device)

    def _steer_start(self, one: PromptStartSteering, start: int, length: int) -> None:
        found = one.vector[start : start + length].float()  # of these positions
        if not len(found):
            self.steering.clear()
            return
        delta = torch.zeros(length, found.shape[1])
        delta[: len(found)] = one.alpha * found
        self.steering.set_positions(one.layer, delta.to(self.loaded.device, self.loaded.dtype))
