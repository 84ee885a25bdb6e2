"""Trained steering vectors: the weights stay as they are, one vector of one block learns.

The vector is added to the block's output at the steered positions, and trained with cross-entropy
on solutions as they follow their prompts, the end of the answer included. Sinii et al. 2025 (arXiv
2505.18706) train such vectors with reinforcement learning; this is the supervised objective.

The vector is float32, the model keeps its dtype. What all texts start with is read once, and no
gradient is kept below the steered block.
"""

import copy
import inspect
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import DynamicCache

from snakesteer.config import Scope
from snakesteer.data.prompts import Ids, common_prefix
from snakesteer.errors import UserError
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel, check_ids
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.vector import Array, Vector
from snakesteer.vectors.capture import Text, capture, token_batches

_IGNORED = -100  # a label that cross-entropy leaves out


@dataclass(frozen=True)
class Example:
    """A prompt with what is to follow it.

    Attributes:
        token_ids: Prompt and solution.
        prompt_tokens: How many of these are the prompt, at least one; the others are learned.
    """

    token_ids: Ids
    prompt_tokens: int


@dataclass(frozen=True)
class Recipe:
    """How a vector is trained.

    Attributes:
        epochs: Passes over the examples.
        learning_rate: How far one step of Adam goes at first, in mean norms of the residual stream
            behind the block, so that one rate fits models and layers of all scales.
        batch_tokens: Most tokens of a padded batch, what is read once left out.
        held_out: Share of the examples that are not learned. The vector of the epoch with the
            lowest loss on them is taken; without any, the last epoch's.
        max_dose: Longest vector, in mean norms of the residual stream behind the block.
        seed: Draws the held-out examples and the order of batches.
    """

    epochs: int = 4
    learning_rate: float = 0.01
    batch_tokens: int = 512
    held_out: float = 0.1
    max_dose: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """An epoch of a training.

    Attributes:
        epoch: From 1; 0 is before the training.
        loss: Mean cross-entropy per learned token (nats) while it was learned; None in epoch 0.
        held_out_loss: The same on held-out examples behind the epoch; None where there are none.
        dose: Length of the vector in mean residual norms.
    """

    epoch: int
    loss: float | None
    held_out_loss: float | None
    dose: float


def train(
    loaded: LoadedModel,
    examples: Sequence[Example],
    layer: int,
    recipe: Recipe,
    scope: Scope = "from_last_prompt_token",
    first_k: int | None = None,
    progress: bool = False,
) -> tuple[Vector, list[Progress]]:
    """Train a vector. The same seed on the same machine gives the same bits.

    Args:
        loaded: The model; its weights do not change.
        examples: What is to be said.
        layer: 0-based block whose output is changed.
        recipe: How.
        scope: Which positions are steered.
        first_k: For scope ``first_k``.
        progress: Show a progress bar on the terminal.

    Returns:
        The vector (α = 1 is as it was trained), and its epochs.

    Raises:
        UserError: No example can be learned, one does not fit into the context, or the loss is not
            finite.
    """
    learned, kept = _split(examples, recipe)
    norm = _mean_residual_norm(loaded, learned, layer)
    steering = ResidualSteering(layer, torch.zeros(0), 1.0, scope, first_k)
    texts = _Texts(loaded, [*learned, *kept], steering)
    hidden = loaded.model.config.get_text_config().hidden_size
    vector = torch.zeros(hidden, device=loaded.device, requires_grad=True)
    # A first step of Adam changes every entry by its rate: √hidden times that is its length.
    rate = recipe.learning_rate * norm / math.sqrt(hidden)
    optimizer = torch.optim.Adam([vector], lr=rate)
    draw = random.Random(f"batches {recipe.seed}")
    batches = _batches(texts, range(len(learned)), recipe)
    held_out = _batches(texts, range(len(learned), len(learned) + len(kept)), recipe)

    epochs = [Progress(0, None, _mean_loss(texts, held_out, vector), 0.0)]
    best = vector.detach().clone()
    with (
        frozen(loaded),
        tqdm(
            total=recipe.epochs * len(batches),
            unit="step",
            desc="training",
            disable=None if progress else True,
            leave=False,
        ) as bar,
    ):
        for epoch in range(1, recipe.epochs + 1):
            order = draw.sample(batches, len(batches))
            total, count = 0.0, 0
            for step, batch in enumerate(order, start=1):
                loss, tokens = texts.loss(batch, vector)
                if not math.isfinite(loss.item()):
                    raise UserError(
                        f"The training loss is {loss.item()} in step {step} of epoch {epoch}",
                        "Lower the learning rate or the largest dose, or use model.dtype: float32.",
                    )
                optimizer.zero_grad()
                (loss / tokens).backward()
                optimizer.step()
                _cap(vector, recipe.max_dose * norm)
                total, count = total + loss.item(), count + tokens
                bar.update()
            found = Progress(
                epoch,
                total / count,
                _mean_loss(texts, held_out, vector),
                float(vector.detach().norm()) / norm,
            )
            bar.set_postfix_str(f"loss {found.loss:.3f}")
            epochs.append(found)
            if _is_best(epochs):
                best = vector.detach().clone()
    raw: Array = best.float().cpu().numpy()
    return Vector("trained", layer, raw, norm), epochs


@contextmanager
def frozen(loaded: LoadedModel) -> Iterator[None]:
    """A context in which no weight of the model wants a gradient."""
    wanting = [p for p in loaded.model.parameters() if p.requires_grad]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)


def _split(examples: Sequence[Example], recipe: Recipe) -> tuple[list[Example], list[Example]]:
    """Examples to learn, and those held out."""
    if any(not 0 < one.prompt_tokens < len(one.token_ids) for one in examples) or not examples:
        raise UserError(
            "There is nothing to learn: an example has no prompt or no solution, or there is none",
            "Give prompts with the solutions that are to follow them.",
        )
    held_out = round(recipe.held_out * len(examples))
    if held_out >= len(examples):
        raise UserError(
            f"Of {len(examples)} examples {held_out} are held out, and none is left to learn",
            "Hold out a smaller share, or give more examples.",
        )
    order = random.Random(f"held out {recipe.seed}").sample(range(len(examples)), len(examples))
    kept = {*order[:held_out]}
    return (
        [one for index, one in enumerate(examples) if index not in kept],
        [one for index, one in enumerate(examples) if index in kept],
    )


def _mean_residual_norm(loaded: LoadedModel, examples: Sequence[Example], layer: int) -> float:
    """Mean norm of the unsteered residual stream from the last prompt token on."""
    spans = [(one.prompt_tokens - 1, len(one.token_ids)) for one in examples]
    texts = [Text(one.token_ids, span, span) for one, span in zip(examples, spans, strict=True)]
    norms = [found[layer].residual_norm for _, found in capture(loaded, texts, [layer])]
    return float(torch.cat(norms).double().mean())


def _batches(texts: "_Texts", indices: Sequence[int], recipe: Recipe) -> list[list[int]]:
    """Examples of similar length together, within the budget of tokens."""
    lengths = [len(texts.examples[index].token_ids) - len(texts.prefix) for index in indices]
    found = token_batches(lengths, recipe.batch_tokens)
    return [[indices[position] for position in batch] for batch in found]


def _is_best(epochs: Sequence[Progress]) -> bool:
    """Whether the last epoch has the lowest held-out loss so far; always, without any."""
    losses = [one.held_out_loss for one in epochs]
    *before, last = losses
    return last is None or all(loss is None or last < loss for loss in before)


@torch.no_grad()
def _mean_loss(texts: "_Texts", batches: Sequence[Sequence[int]], vector: Tensor) -> float | None:
    """Mean cross-entropy per learned token; None without batches."""
    if not batches:
        return None
    found = [texts.loss(batch, vector) for batch in batches]
    return sum(loss.item() for loss, _ in found) / sum(tokens for _, tokens in found)


@torch.no_grad()
def _cap(vector: Tensor, longest: float) -> None:
    """Shorten a vector that is too long, in place."""
    length = vector.norm()
    vector.mul_(torch.where(length > longest, longest / length, 1.0))


class _Texts:
    """Examples as the model reads them: what all start with once, the rest in padded batches.

    Args:
        loaded: The model.
        examples: The examples.
        steering: Layer and steered positions; its vector does not matter.
    """

    def __init__(
        self, loaded: LoadedModel, examples: Sequence[Example], steering: ResidualSteering
    ) -> None:
        self.loaded = loaded
        self.examples = examples
        self.steering = steering
        check_ids(loaded, (one.token_ids for one in examples))
        self.positions = "position_ids" in inspect.signature(loaded.model.forward).parameters
        # Steered positions must be read with every step.
        shortest = 0 if steering.steers_prompt else min(one.prompt_tokens for one in examples) - 1
        self.prefix = common_prefix(one.token_ids for one in examples)[:shortest]
        self.cache: DynamicCache | None = None
        if self.prefix:
            cache = DynamicCache(config=loaded.model.config)
            with torch.no_grad():
                self._logits(torch.tensor([self.prefix]), cache, 0)
            self.cache = cache if cache.get_seq_length() == len(self.prefix) else None
            self.prefix = self.prefix if self.cache is not None else ()

    def loss(self, batch: Sequence[int], vector: Tensor) -> tuple[Tensor, int]:
        """Summed cross-entropy (nats) of a batch's learned tokens, and how many they are.

        Args:
            batch: Indices of examples.
            vector: ``[hidden]`` float32, added at the steered positions.
        """
        start, device = len(self.prefix), self.loaded.device
        chosen = [self.examples[index] for index in batch]
        longest = max(len(one.token_ids) for one in chosen) - start
        ids = torch.full((len(chosen), longest), self.loaded.pad_id)
        labels = torch.full_like(ids, _IGNORED)
        steered = torch.zeros(len(chosen), longest, dtype=torch.bool)
        for row, one in enumerate(chosen):
            own = torch.tensor(one.token_ids[start:])
            ids[row, : len(own)] = own
            first = one.prompt_tokens - start
            labels[row, first : len(own)] = own[first:]
            for column in range(len(own)):
                step = start + column - (one.prompt_tokens - 1)
                steered[row, column] = (
                    self.steering.steers_step(step) if step >= 0 else self.steering.steers_prompt
                )
        where = steered.to(device)[:, :, None]

        def add(hidden: Tensor) -> Tensor:
            return hidden + where * vector.to(hidden.dtype)

        cache = None
        if self.cache is not None:
            cache = copy.deepcopy(self.cache)
            cache.batch_repeat_interleave(len(chosen))
        with on_block_outputs(self.loaded.blocks, {self.steering.layer: add}):
            logits = self._logits(ids, cache, start)
        # Position t says what stands at t + 1; the first label of the batch is behind the prefix.
        wanted = labels[:, 1:].to(device)
        said = logits[:, :-1].flatten(0, 1)  # [batch · (new − 1), vocab]
        exact = said.to(torch.promote_types(said.dtype, torch.float32))
        loss = cross_entropy(exact, wanted.flatten(), reduction="sum")
        return loss, int((labels[:, 1:] != _IGNORED).sum())

    def _logits(self, ids: Tensor, cache: DynamicCache | None, start: int) -> Tensor:
        """``[batch, new, vocab]`` of tokens behind a cache, padded on the right."""
        rows, new = ids.shape
        device = self.loaded.device
        arguments: dict[str, Any] = {"use_cache": cache is not None, "past_key_values": cache}
        if self.positions:
            positions = torch.arange(start, start + new, device=device)
            arguments["position_ids"] = positions.expand(rows, -1)
        output = self.loaded.model(
            input_ids=ids.to(device),
            attention_mask=torch.ones(rows, start + new).long().to(device),
            **arguments,
        )
        logits: Tensor = output.logits
        return logits
