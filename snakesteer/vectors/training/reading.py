"""Texts as the model reads them under a vector that learns.

A vector of block L changes nothing before the first steered position, and nothing below block L. So
what all texts start with is read once, the rest of the prompts and the output of block L once per
batch, and only the blocks above L compute the steered positions again at every step. Where the
scope is ``all``, prompts are steered, too, and read anew.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from snakesteer.data.prompts import Ids, common_prefix
from snakesteer.models.arguments import cache_argument, takes
from snakesteer.models.blocks import (
    blocks_computing,
    on_block_outputs,
    replace_block_output,
    residual_norms,
)
from snakesteer.models.loading import LoadedModel, check_ids, vocabulary_size
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.tokens import token_table
from snakesteer.vectors.training.gradients import checkpointed
from snakesteer.vectors.training.lessons import Example

NOT_LEARNED = -100  # a label of padding and prompts
_KEPT_BYTES = 2**30  # for batches that are read again in the next epoch
_GRAPH_BYTES = 2**32  # kept for the way back, before activations are computed a second time
_TENSORS_PER_BLOCK = 20  # of the residual stream's width, that a block keeps for the way back

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts side by side: questions end in one column, and steered positions follow.

    Attributes:
        ids: ``[rows, columns]`` tokens from the first steered one on, padded on the right.
        labels: ``[rows, columns]`` the token behind each, where it is learned from.
        steered: ``[rows, columns]`` bool.
        positions: ``[rows, columns]`` in the text.
        mask: ``[rows, prefix + question + columns]``: 0 where a question is padded.
        question: Keys and values of what stands before, by layer; None below the steered block.
        lower: ``[rows, columns, hidden]`` output of the first steered block, not steered.
    """

    ids: Tensor
    labels: Tensor
    steered: Tensor
    positions: Tensor
    mask: Tensor
    question: list[KeysValues | None]
    lower: Tensor

    @property
    def bytes(self) -> int:
        """What it takes to keep it."""
        kept = [self.lower, *(tensor for pair in self.question if pair for tensor in pair)]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)


class BatchReader:
    """Reads batches of examples, under vectors or without.

    Args:
        loaded: The model.
        examples: All texts.
        steering: Layers and steered positions; its vectors and strengths do not matter.

    Raises:
        UserError: A text with tokens that the model does not know, or a layer that it lacks.
    """

    def __init__(
        self, loaded: LoadedModel, examples: Sequence[Example], steering: ResidualSteering
    ) -> None:
        self.loaded = loaded
        self.examples = list(examples)
        self.steering = steering
        self.layers = [place.layer for place in steering.places]
        self.first = min(self.layers)
        check_ids(loaded, (one.token_ids for one in examples))
        self.has_positions = takes(loaded.model, "position_ids")
        self.prefix, self.cache = self._common_start()
        self.whole = not self._questions_can_be_kept()
        self.form = self._form()
        tokens = steering.token_set
        size = vocabulary_size(loaded)
        self.tokens = None if tokens is None else token_table(loaded.tokenizer, size, tokens)
        self._kept: dict[tuple[int, ...], Batch] = {}
        self._kept_bytes = 0

    def batch(self, indices: Sequence[int]) -> Batch:
        """Examples, ready to be read; kept for the next time where there is room."""
        key = tuple(indices)
        if key not in self._kept:
            batch = self._prepared([self.examples[index] for index in key])
            if self._kept_bytes + batch.bytes > _KEPT_BYTES:
                return batch
            self._kept[key] = batch
            self._kept_bytes += batch.bytes
        return self._kept[key]

    def columns(self, example: Example) -> int:
        """How many tokens of a text are read at every step."""
        first = len(self.prefix) if self.whole else example.prompt_tokens - 1
        return len(example.token_ids) - 1 - first

    def logits(self, batch: Batch, vectors: Tensor | None) -> Tensor:
        """What the model says behind every column.

        Args:
            batch: From `batch`.
            vectors: ``[layers, hidden]``, added at the steered positions; None adds nothing.

        Returns:
            ``[rows, columns, vocabulary]`` in float32, or in the model's dtype if that is wider.
        """
        where = batch.steered[:, :, None]

        def adding(number: int) -> Callable[[Tensor], Tensor]:
            def add(hidden: Tensor) -> Tensor:
                assert vectors is not None
                return hidden + where.to(hidden.device) * vectors[number].to(hidden)

            return add

        hooks = {} if vectors is None else {at: adding(i) for i, at in enumerate(self.layers)}
        given = dict.fromkeys(range(self.first), self._passing)
        given[self.first] = lambda *args, **kwargs: self._in_form(batch.lower)
        with (
            blocks_computing(self.loaded.blocks, given | self._second_time(batch, vectors)),
            on_block_outputs(self.loaded.blocks, hooks),
        ):
            logits = self._run(
                self.loaded.model, batch.ids, batch.positions, batch.mask, self._behind(batch)
            ).logits
        exact: Tensor = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return exact

    @torch.no_grad()
    def residual_sums(self, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """The unsteered residual stream and its norms, summed from the last prompt token on.

        Args:
            batch: From `batch`.

        Returns:
            At the steered layers the norms' sums ``[layers]`` and the stream's
            ``[layers, hidden]``, both float64, and how many positions they are of.
        """
        where = batch.labels != NOT_LEARNED
        norms, sums = {}, {}

        def adding(layer: int) -> Callable[[Tensor], None]:
            def add(hidden: Tensor) -> None:
                norms[layer] = residual_norms(hidden)[where].double().sum()
                sums[layer] = hidden[where].double().sum(dim=0)

            return add

        adding(self.first)(batch.lower)
        above = {layer: adding(layer) for layer in self.layers if layer != self.first}
        if above:
            with on_block_outputs(self.loaded.blocks, above):
                self.logits(batch, None)
        found = [torch.stack([of[layer] for layer in self.layers]) for of in (norms, sums)]
        return found[0], found[1], int(where.sum())

    def _common_start(self) -> tuple[Ids, DynamicCache | None]:
        """What all texts start with, and its keys and values; nothing if prompts are steered."""
        steered = self.steering.steers_prompt
        shortest = 0 if steered else min(one.prompt_tokens for one in self.examples) - 1
        prefix = common_prefix(one.token_ids for one in self.examples)[:shortest]
        if not prefix:
            return (), None
        cache = DynamicCache(config=self.loaded.model.config)
        ids = torch.tensor([prefix])
        with torch.no_grad():
            self._run(self.loaded.model.base_model, ids, _columns(ids, 0), None, cache)
        return (prefix, cache) if cache.get_seq_length() == len(prefix) else ((), None)

    def _questions_can_be_kept(self) -> bool:
        """Whether the rest of a prompt can be read apart from what follows it.

        Questions of several lengths stand side by side, the shorter ones behind padding: the model
        must take positions as they are told, and see everything, not a window of columns.
        """
        if self.steering.steers_prompt or not self.has_positions or self.cache is None:
            return False
        longest = 2 * max(len(one.token_ids) for one in self.examples)
        windows = [getattr(layer, "sliding_window", longest) for layer in self.cache.layers]
        return min(windows) >= longest

    @torch.no_grad()
    def _form(self) -> Any:
        """What the first steered block returns: its form is that of what stands in for it."""
        seen: list[Any] = []
        ids = torch.tensor([self.examples[0].token_ids[:1]])
        unchanged = dict.fromkeys(self.layers, lambda hidden: None)
        with on_block_outputs(self.loaded.blocks, unchanged):  # all of them are there
            block = self.loaded.blocks[self.first]
            handle = block.register_forward_hook(lambda module, inputs, output: seen.append(output))
            self._run(self.loaded.model.base_model, ids, _columns(ids, 0), None, None)
            handle.remove()
        return seen[0]

    def _in_form(self, hidden: Tensor) -> Any:
        return replace_block_output(self.form, hidden)

    def _passing(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A block that does nothing."""
        return self._in_form(hidden_states)

    @torch.no_grad()
    def _prepared(self, examples: Sequence[Example]) -> Batch:
        start, rows = len(self.prefix), len(examples)
        firsts = [start if self.whole else one.prompt_tokens - 1 for one in examples]
        width = max(len(one.token_ids) - 1 - at for one, at in zip(examples, firsts, strict=True))
        question = max(firsts) - start
        ids = torch.full((rows, width), self.loaded.pad_id)
        labels = torch.full((rows, width), NOT_LEARNED)
        steered = torch.zeros(rows, width, dtype=torch.bool)
        positions = torch.zeros(rows, width, dtype=torch.long)
        asked = torch.full((rows, question), self.loaded.pad_id)
        asked_positions = torch.zeros(rows, question, dtype=torch.long)
        mask = torch.ones(rows, start + question + width, dtype=torch.long)
        for row, (one, first) in enumerate(zip(examples, firsts, strict=True)):
            own = torch.tensor(one.token_ids[first:])
            count = len(own) - 1
            ids[row, :count] = own[:-1]
            learned = max(one.prompt_tokens - 1 - first, 0)
            labels[row, learned:count] = own[1 + learned :]
            positions[row] = torch.arange(first, first + width)
            for column in range(count):
                step = first + column - (one.prompt_tokens - 1)
                steered[row, column] = self._steers(step, one.token_ids[first + column])
            empty = question - (first - start)
            mask[row, start : start + empty] = 0
            asked[row, empty:] = torch.tensor(one.token_ids[start:first], dtype=torch.long)
            asked_positions[row, empty:] = torch.arange(start, first)
        cache = self._repeated(rows)
        if question:
            self._run(
                self.loaded.model.base_model,
                asked,
                asked_positions,
                mask[:, : start + question],
                cache,
            )
        kept = self._question(cache, rows)
        device = self.loaded.device
        return Batch(
            ids=ids.to(device),
            labels=labels.to(device),
            steered=steered.to(device),
            positions=positions.to(device),
            mask=mask.to(device),
            question=kept,
            lower=self._lower(ids, positions, mask, cache),
        )

    def _steers(self, step: int, token: int) -> bool:
        if step < 0:
            return self.steering.steers_prompt
        within = self.tokens is None or bool(self.tokens[token])
        return within and self.steering.steers_step(step)

    def _lower(
        self, ids: Tensor, positions: Tensor, mask: Tensor, cache: DynamicCache | None
    ) -> Tensor:
        """``[rows, columns, hidden]`` behind the first steered block; those above do nothing."""
        found: list[Tensor] = []
        above = range(self.first + 1, len(self.loaded.blocks))
        with (
            blocks_computing(self.loaded.blocks, dict.fromkeys(above, self._passing)),
            on_block_outputs(self.loaded.blocks, {self.first: found.append}),
        ):
            self._run(self.loaded.model.base_model, ids, positions, mask, cache)
        return found[0].clone()

    def _repeated(self, rows: int) -> DynamicCache | None:
        """The common start for every row."""
        if self.cache is None:
            return None
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def _question(self, cache: DynamicCache | None, rows: int) -> list[KeysValues | None]:
        """Keys and values of the questions alone, by layer; none where nothing was read apart."""
        if self.whole or cache is None:
            return []
        start = len(self.prefix)
        return [
            (layer.keys[:, :, start:].clone(), layer.values[:, :, start:].clone())
            if number > self.first
            else None
            for number, layer in enumerate(cache.layers)
        ]

    def _behind(self, batch: Batch) -> DynamicCache | None:
        """Keys and values that a batch's columns look back to."""
        rows = len(batch.ids)
        if self.whole or self.cache is None:
            return self._repeated(rows)
        cache = DynamicCache(config=self.loaded.model.config)
        length = batch.mask.shape[1] - batch.ids.shape[1]
        for number, (layer, own) in enumerate(zip(self.cache.layers, batch.question, strict=True)):
            if own is None:  # nothing reads it but its length
                empty = layer.keys.new_empty(1, 1, length, 1)
                cache.update(empty, empty, number)
                continue
            start = (layer.keys, layer.values)
            keys, values = (
                torch.cat([ahead.expand(rows, -1, -1, -1), behind], dim=2)
                for ahead, behind in zip(start, own, strict=True)
            )
            cache.update(keys, values, number)
        return cache

    def _second_time(self, batch: Batch, vectors: Tensor | None) -> dict[int, Callable[..., Any]]:
        """Blocks that keep nothing for the way back, where that would take too much memory."""
        blocks = range(self.first + 1, len(self.loaded.blocks))
        rows, columns, hidden = batch.lower.shape
        kept = rows * columns * hidden * batch.lower.element_size() * _TENSORS_PER_BLOCK
        if vectors is None or not torch.is_grad_enabled() or kept * len(blocks) <= _GRAPH_BYTES:
            return {}
        return {at: checkpointed(self.loaded.blocks[at].forward) for at in blocks}

    def _run(
        self,
        model: Any,
        ids: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        cache: DynamicCache | None,
    ) -> Any:
        """One pass of the model, or of its blocks, over tokens behind a cache."""
        device = self.loaded.device
        told = {"position_ids": positions.to(device)} if self.has_positions else {}
        before = 0 if cache is None else cache.get_seq_length()
        seen = torch.ones(len(ids), before + ids.shape[1]).long() if mask is None else mask
        return model(
            input_ids=ids.to(device),
            attention_mask=seen.to(device),
            use_cache=cache is not None,
            **{cache_argument(model): cache},
            **told,
        )


def _columns(ids: Tensor, start: int) -> Tensor:
    """Positions ``[rows, columns]`` of tokens that follow each other."""
    return torch.arange(start, start + ids.shape[1]).expand(ids.shape)
