"""Contrast activations of attention heads by generation step, for the method `dac_heads`.

As in DAC: Scalena, Sarti and Nissim 2024 (arXiv 2406.17563), repository
DanielSc4/Dynamic-Activation-Composition. The model answers a question behind examples of right
solutions (A), and the same question behind the wrong twins of the same solutions (B). At every step
of these greedy answers the heads' outputs at the last position are kept, and
Δ[i] = mean_A[i] − mean_B[i] over all prompts that have a step i.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from snakesteer.config import PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Ids, Prompter
from snakesteer.errors import UserError
from snakesteer.models.heads import find_heads
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.vector import HeadVector
from snakesteer.vectors.pairs import Pair

# Prompts in, the number of tokens of each one's greedy answer out.
AnswerPrompts = Callable[[Sequence[Ids]], Sequence[int]]


@dataclass(frozen=True, eq=False)
class StepMeans:
    """Heads' outputs by generation step, averaged over answers.

    Attributes:
        mean: ``[steps, layers, heads · head_dim]`` float64.
        count: ``[steps]`` answers that have this step, at least one.
        norm: ``[layers]`` float64, mean norm over all answers and steps.
    """

    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    norm: NDArray[np.float64]


def contrast_prompts(
    config: PromptConfig,
    tokenizer: object,
    pairs: Sequence[Pair],
    count: int,
    shots: int,
    seed: int,
) -> list[tuple[Ids, Ids]]:
    """Prompts with right and with wrong examples, alike in everything else.

    Questions are drawn with replacement (as in the authors' repository), and for each its examples
    from the other pairs.

    Args:
        config: The format of a prompt.
        tokenizer: The model's.
        pairs: Train pairs; of a side's solutions the first is shown.
        count: Number of prompts of either kind.
        shots: Examples in each.
        seed: Of the draws.

    Returns:
        Token ids, right examples first.

    Raises:
        UserError: There are too few pairs.
    """
    if len(pairs) <= shots:
        raise UserError(
            f"heads.examples is {shots}, but there are only {len(pairs)} contrast pairs, one of "
            "which must be left for the question",
            "Lower heads.examples or raise data.train.",
        )
    draw = random.Random(f"dac_heads {seed}")
    prompts = []
    for _ in range(count):
        question, *examples = draw.sample(pairs, shots + 1)
        texts = ([pair.positive[0] for pair in examples], [pair.negative[0] for pair in examples])
        right, wrong = (
            tuple(
                Problem(pair.id, pair.question, text, "")
                for pair, text in zip(examples, solutions, strict=True)
            )
            for solutions in texts
        )
        prompts.append(
            (
                Prompter(config, right, tokenizer).ids(question.question),
                Prompter(config, wrong, tokenizer).ids(question.question),
            )
        )
    return prompts


def step_means(
    loaded: LoadedModel,
    prompts: Sequence[Ids],
    answer: AnswerPrompts,
    steps: int,
    batch_size: int,
    progress: bool = False,
) -> StepMeans:
    """Answer prompts greedily, and average the heads' outputs by step.

    Args:
        loaded: The model.
        prompts: Token ids.
        answer: Answers a batch in one pass for the prompts and one for every step, rows in their
            order; an answer that has ended has no further steps.
        steps: Most tokens of an answer.
        batch_size: Prompts answered together.
        progress: Show a progress bar on the terminal.

    Raises:
        UserError: A prompt that does not fit into the context, or outputs that are not finite.
    """
    longest = max(map(len, prompts))
    if loaded.context is not None and longest + steps > loaded.context:
        raise UserError(
            f"A prompt of {longest} tokens with examples for the method dac_heads and heads.steps "
            f"({steps}) do not fit into the model's context of {loaded.context}",
            "Lower heads.examples or heads.steps.",
        )
    heads = find_heads(loaded.model)
    layers = len(heads.projections)
    total = torch.zeros(steps, layers, heads.width, dtype=torch.float64)
    lengths = torch.zeros(layers, dtype=torch.float64)
    count = torch.zeros(steps, dtype=torch.long)
    ordered = sorted(prompts, key=len)  # an engine's own order: rows stay where they are
    starts = range(0, len(ordered), batch_size)
    for start in tqdm(starts, unit="batch", disable=None if progress else True, leave=False):
        kept: list[list[Tensor]] = [[] for _ in range(layers)]
        with heads.on_outputs({layer: _keeper(kept[layer]) for layer in range(layers)}):
            new_tokens = answer(ordered[start : start + batch_size])
        outputs = torch.stack([torch.stack(seen) for seen in kept], dim=2)
        # [steps here, batch, layers, width]
        step = torch.arange(outputs.shape[0])[:, None]
        going = step < torch.tensor(new_tokens)  # [steps, batch]
        outputs = torch.where(going[:, :, None, None], outputs.double(), 0.0)
        total[: len(outputs)] += outputs.sum(dim=1)
        lengths += torch.linalg.vector_norm(outputs, dim=-1).sum(dim=(0, 1))
        count[: len(outputs)] += going.sum(dim=1)
    if not torch.isfinite(total).all():
        raise UserError(
            "Outputs of attention heads are not finite",
            "The dtype is too small for this model; try model.dtype: bfloat16 or float32.",
        )
    known = int((count > 0).sum())
    return StepMeans(
        mean=(total[:known] / count[:known, None, None]).numpy(),
        count=count[:known].numpy(),
        norm=(lengths / count.sum()).numpy(),
    )


def _keeper(kept: list[Tensor]) -> Callable[[Tensor], None]:
    def keep(outputs: Tensor) -> None:
        kept.append(outputs[:, -1].float().cpu())

    return keep


def contrast(right: StepMeans, wrong: StepMeans) -> HeadVector:
    """Δ of two kinds of answers, for the steps that both have."""
    steps = min(len(right.mean), len(wrong.mean))
    return HeadVector(
        method="dac_heads",
        delta=(right.mean[:steps] - wrong.mean[:steps]).astype(np.float32),
        norm=((right.norm + wrong.norm) / 2).astype(np.float32),
    )
