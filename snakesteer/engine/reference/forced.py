"""Given texts as the model reads them under a steering, all tokens in one pass.

Where no token has to be chosen, none has to wait for another: what is added at a position follows
from the text and the place. That holds for a dynamic strength, too. Its unsteered and its probe
stream (`snakesteer.engine.reference.dac`) do not depend on α_t, so that one pass of each gives α_t
of all steps, and a third pass steers with them.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from snakesteer.engine.batching import check_lengths
from snakesteer.engine.interface import Request
from snakesteer.engine.reference.known_prompts import (
    Known,
    KnownBatch,
    may_be_apart,
    read_on,
    read_prompts,
    tokens_apart,
)
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.heads import find_heads
from snakesteer.models.loading import LoadedModel, check_ids, vocabulary_size
from snakesteer.steering.dac import Dac, dynamic_alpha
from snakesteer.steering.gates import Gate
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.kinds import Steering
from snakesteer.steering.operators import apply_operator
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from snakesteer.steering.tokens import token_table

FORCED_TOKENS = 1024  # in one padded batch
_TIMES = 8  # see `_fitting`

# Layer → what changes its activations ``[batch, seq, width]``.
Changes = Mapping[int, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class GivenText:
    """A text of which a part counts as prompt and the rest as generated behind it.

    Attributes:
        token_ids: All of it.
        prompt_tokens: How many of them are the prompt: at least one, and not all.
    """

    token_ids: tuple[int, ...]
    prompt_tokens: int

    @property
    def generated(self) -> tuple[int, ...]:
        """The tokens that count as generated."""
        return self.token_ids[self.prompt_tokens :]


@dataclass(frozen=True, eq=False)
class Forced:
    """What the model says at each generated token of a text, before it reads that token.

    Attributes:
        unsteered: ``[generated, vocab]`` logits in float32, without steering.
        steered: The same with it.
        alpha_t: ``[generated]`` float32 on the CPU; None where the strength is not dynamic.
        let_through: ``[generated]`` bool on the CPU, whether gate and scope let steering through;
            None where neither a gate nor tokens or a window decide.
    """

    unsteered: Tensor
    steered: Tensor
    alpha_t: Tensor | None
    let_through: Tensor | None = None


@torch.inference_mode()
def forced_logits(
    loaded: LoadedModel,
    texts: Sequence[GivenText],
    steering: Steering,
    budget: int = FORCED_TOKENS,
    known: Known | None = None,
) -> Iterator[tuple[int, Forced]]:
    """Read texts with and without a steering, which acts where it would act on generated text.

    Args:
        loaded: The model.
        texts: What to read.
        steering: Of all texts.
        budget: Tokens in one padded batch.
        known: Kept for further calls with the same texts and budget; this one fills it.

    Yields:
        The index of each text, and what the model says of it; those of similar length come
        together.

    Raises:
        UserError: A text that does not fit into the model's context, or with tokens that the model
            does not know.
    """
    check_ids(loaded, (text.token_ids for text in texts))
    # The last token of a text is not read.
    asked = ((text.token_ids[: text.prompt_tokens], len(text.generated) - 1) for text in texts)
    check_lengths(loaded, [Request(*one) for one in asked])
    able = may_be_apart(loaded, steering)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index].token_ids))
    while order:
        # The longest first: what does not fit shows at once.
        rows, apart = _fitting([texts[index] for index in reversed(order)], able, budget)
        batch, order = order[-rows:], order[:-rows]
        one = (tuple(batch), apart)
        of_batch = KnownBatch() if known is None else known.setdefault(one, KnownBatch())
        found = _read(loaded, [texts[index] for index in batch], steering, apart, of_batch)
        yield from zip(batch, found, strict=True)


def _fitting(texts: Sequence[GivenText], able: bool, budget: int) -> tuple[int, int]:
    """How many of some texts, the longest first, are a batch, and what is read apart of each.

    Args:
        texts: The texts.
        able: Whether prompts can be read apart.
        budget: Tokens of the batch behind what is read apart. With it there are at most `_TIMES`
            as many: of a prompt that is read once, only keys and values are kept.
    """
    longest, shortest = len(texts[0].token_ids), texts[0].prompt_tokens
    found = (1, tokens_apart(shortest) if able else 0)
    for rows, text in enumerate(texts[1:], start=2):
        shortest = min(shortest, text.prompt_tokens)
        apart = tokens_apart(shortest) if able else 0
        if rows * (longest - apart) > budget or rows * longest > _TIMES * budget:
            break
        found = (rows, apart)
    return found


def _read(
    loaded: LoadedModel,
    texts: Sequence[GivenText],
    steering: Steering,
    apart: int,
    known: KnownBatch,
) -> Iterator[Forced]:
    """Read one batch. The last token of a text is not read: nothing is asked behind it.

    Args:
        loaded: The model.
        texts: Those of the batch.
        steering: Of all texts.
        apart: How many tokens of each are read apart.
        known: What is known of the batch; grows.

    Yields:
        What the model says of each text of the batch.
    """
    longest = max(len(text.token_ids) for text in texts) - 1
    ids = torch.full((len(texts), longest), loaded.pad_id)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        own = text.token_ids[:-1]
        ids[row, : len(own)] = torch.tensor(own)
        mask[row, : len(own)] = 1
    ids, mask = ids.to(loaded.device), mask.to(loaded.device)
    last = torch.tensor([text.prompt_tokens - 1 - apart for text in texts])
    asked = [_asked(text, apart) for text in texts]
    if apart and known.prompts is None:
        known.prompts = read_prompts(loaded, ids[:, :apart])
    # From here on, what was read apart does not count: [batch, seq].
    ids = ids[:, apart:]
    steps = torch.arange(longest - apart) - last[:, None]  # 0 is the last prompt token

    def logits(*parts: tuple[Steering, Tensor]) -> Tensor:
        with ExitStack() as stack:
            for part, factor in parts:  # the hooks of the earlier ones come first
                stack.enter_context(_steered(loaded, part, steps, factor))
            return _forward(loaded, ids, mask, known.prompts)

    gate = steering.gate if isinstance(steering, ResidualSteering) else None
    looked_at: list[Tensor] = []
    if gate is not None or not known.unsteered:
        # A gate looks at what is not steered.
        look = {} if gate is None else {gate.layer: looked_at.append}
        with on_block_outputs(loaded.blocks, look):
            whole = logits()
        known.unsteered = [whole[row, where].clone() for row, where in enumerate(asked)]
        del whole  # as large as all of the prompts
    before = known.unsteered
    alphas = let_through = None
    if steering.dac is None:
        several = steering.parts if isinstance(steering, ResidualSteering) else (steering,)
        parts = [(part, _factors(loaded, part, steps, ids)) for part in several]
        if gate is not None:
            opened = _opened(gate, looked_at[0], last)
            parts = [(part, factor * opened) for part, factor in parts]
        if gate is not None or _is_narrow(steering):
            let_through = torch.stack([factor != 0.0 for _, factor in parts]).any(dim=0)
    else:
        probe = logits((steering, torch.where(steps >= 0, steering.dac.probe_alpha, 0.0)))
        alphas = torch.zeros(steps.shape)
        for row, where in enumerate(asked):
            alphas[row, where] = _alphas(before[row], probe[row, where], steering.dac)
        parts = [(steering, steering.alpha * alphas)]
    steered = logits(*parts)
    for row, where in enumerate(asked):
        yield Forced(
            unsteered=before[row].float(),
            steered=steered[row, where].float(),
            alpha_t=None if alphas is None else alphas[row, where],
            let_through=None if let_through is None else let_through[row, where],
        )


def reaches(loaded: LoadedModel, texts: Iterable[GivenText], steering: Steering) -> bool:
    """Whether a scope steers any position of texts that is read, whatever a gate says there.

    Args:
        loaded: The model.
        texts: The texts.
        steering: One that is not off.
    """
    if not _is_narrow(steering):
        return True
    assert isinstance(steering, ResidualSteering)
    for text, part in itertools.product(texts, steering.parts):
        ids = torch.tensor([text.token_ids[:-1]])
        steps = torch.arange(ids.shape[1]) - (text.prompt_tokens - 1)
        if _factors(loaded, part, steps[None], ids).any():
            return True
    return False


def _is_narrow(steering: Steering) -> bool:
    """Whether a scope may leave out a whole text."""
    if not isinstance(steering, ResidualSteering) or steering.dac is not None:
        return False
    return any(part.tokens is not None or part.window is not None for part in steering.parts)


def _opened(gate: Gate, hidden: Tensor, last: Tensor) -> Tensor:
    """Where a gate is open in unsteered texts, ``[batch, seq]`` or ``[batch, 1]`` bool on the CPU.

    Args:
        gate: The gate.
        hidden: ``[batch, seq, hidden]``, what its block makes of them.
        last: ``[batch]``, position of the last prompt token.
    """
    opened = gate.opens(hidden).cpu()
    return opened[torch.arange(len(last)), last][:, None] if gate.when == "prompt" else opened


def _asked(text: GivenText, apart: int) -> slice:
    """Positions behind which the generated tokens stand, counted behind what was read apart."""
    return slice(text.prompt_tokens - 1 - apart, len(text.token_ids) - 1 - apart)


def _forward(loaded: LoadedModel, ids: Tensor, mask: Tensor, cache: DynamicCache | None) -> Tensor:
    """``[batch, seq, vocab]``; padding is on the right, where no token of a text looks."""
    if cache is not None:
        return read_on(loaded, ids, mask, cache)
    logits: Tensor = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return logits


def _alphas(unsteered: Tensor, probe: Tensor, dac: Dac) -> Tensor:
    """α_t of the steps of one text, ``[steps]`` on the CPU, from logits ``[steps, vocab]``."""

    def everywhere(value: float | bool) -> Tensor:
        return torch.full((len(unsteered),), value, device=unsteered.device)

    return dynamic_alpha(
        unsteered,
        probe,
        everywhere(dac.ptop),
        everywhere(dac.max_alpha),
        everywhere(dac.entropy_threshold),
        everywhere(dac.kl == "per_token"),
    ).cpu()


def _factors(loaded: LoadedModel, steering: Steering, steps: Tensor, ids: Tensor) -> Tensor:
    """The strength at each step, where its token is read: ``[batch, seq]`` float32, not dynamic."""

    def factor(step: int) -> float:
        match steering:
            case PromptStartSteering():
                return steering.alpha if step <= 0 else 0.0
            case HeadSteering():
                return steering.factor(step) if step >= 0 else 0.0
            case ResidualSteering():
                there = steering.steers_step(step) if step >= 0 else steering.steers_prompt
                return steering.alpha if there else 0.0

    found = torch.tensor([[factor(step) for step in row] for row in steps.tolist()])
    if isinstance(steering, ResidualSteering) and steering.token_set is not None:
        size = vocabulary_size(loaded)
        found *= token_table(loaded.tokenizer, size, steering.token_set)[ids.cpu()]
    return found


def _steered(
    loaded: LoadedModel, steering: Steering, steps: Tensor, factor: Tensor
) -> AbstractContextManager[None]:
    """Steer a pass over whole texts while the context is open.

    Args:
        loaded: The model.
        steering: Of all texts.
        steps: ``[batch, seq]`` of every position; 0 is the last prompt token.
        factor: ``[batch, seq]`` float32, the strength there (at the first layer of a band).
    """
    match steering:
        case ResidualSteering():
            return on_block_outputs(loaded.blocks, _residual_changes(steering, factor))
        case HeadSteering():
            heads = find_heads(loaded.model)
            return heads.on_outputs(_heads_changes(steering, steps, factor))
        case PromptStartSteering():
            return on_block_outputs(loaded.blocks, _start_changes(steering, factor))


def _residual_changes(steering: ResidualSteering, factor: Tensor) -> Changes:
    def changing(place: Place) -> Callable[[Tensor], Tensor]:
        own = factor if place.alpha == steering.alpha else factor * (place.alpha / steering.alpha)

        def change(hidden: Tensor) -> Tensor:
            there = (place.vector.float().to(hidden.device), own.to(hidden.device))
            axis = None if place.axis is None else place.axis.to(hidden.device)
            return apply_operator(steering.operator, hidden, *there, axis)

        return change

    return {place.layer: changing(place) for place in steering.places}


def _heads_changes(steering: HeadSteering, steps: Tensor, factor: Tensor) -> Changes:
    deltas = torch.stack([steering.delta_at(step) for step in range(int(steps.max()) + 1)])
    at = steps.clamp(min=0)  # before the first step the factor is 0

    def changing(index: int) -> Callable[[Tensor], Tensor]:
        def change(outputs: Tensor) -> Tensor:
            added = deltas[:, index][at]  # [batch, seq, width]
            return apply_operator(
                "add", outputs, added.to(outputs.device), factor.to(outputs.device)
            )

        return change

    return {layer: changing(index) for index, layer in enumerate(steering.layers)}


def _start_changes(steering: PromptStartSteering, factor: Tensor) -> Changes:
    def change(hidden: Tensor) -> Tensor:
        reached = min(len(steering.vector), hidden.shape[1])
        added = torch.zeros(hidden.shape[1:])
        added[:reached] = steering.vector[:reached].float()
        return apply_operator("add", hidden, added.to(hidden.device), factor.to(hidden.device))

    return {steering.layer: change}
