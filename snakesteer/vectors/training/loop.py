"""Training on texts: likelihood of right solutions, or preference of right to wrong ones.

Sinii et al. 2025 (arXiv 2505.18706) train one vector per layer with reinforcement learning
(`snakesteer.vectors.training.reinforce`); these are the supervised objectives. Vectors are float32,
the model keeps its dtype and its weights.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from snakesteer.config import TrainingConfig
from snakesteer.config.catalogue import TRAINED
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.positions import DEFAULT_POSITIONS, Positions
from snakesteer.steering.residual import Place, ResidualSteering
from snakesteer.steering.vector import Array, Vector
from snakesteer.vectors.capture import token_batches
from snakesteer.vectors.training.gradients import frozen, repeatable
from snakesteer.vectors.training.learner import (
    Learner,
    UnsteeredStream,
    check_loss,
    new_learner,
    resume_learner,
    save_learner,
)
from snakesteer.vectors.training.lessons import Lesson
from snakesteer.vectors.training.objectives import Loss, numbered
from snakesteer.vectors.training.reading import BatchReader
from snakesteer.vectors.training.steps import TrainingStep

_SAVE_SECONDS = 30.0  # between two checkpoints, besides those at the end of an epoch


def train(
    loaded: LoadedModel,
    learned: Sequence[Lesson],
    held_out: Sequence[Lesson],
    loss: Loss,
    layers: Sequence[int],
    config: TrainingConfig,
    positions: Positions = DEFAULT_POSITIONS,
    checkpoint: str | Path | None = None,
    belongs_to: str = "",
    progress: bool = False,
) -> Learner:
    """Train one vector per layer, all together. The same seed on the same machine: the same bits.

    Args:
        loaded: The model; its weights do not change.
        learned: What is learned from.
        held_out: What chooses the epoch.
        loss: Of lessons by their number among `learned` and, behind them, `held_out`.
        layers: 0-based blocks whose output is changed.
        config: How.
        positions: Which are steered.
        checkpoint: File that keeps the training through a kill.
        belongs_to: A hash of everything that the training depends on; see `resume_learner`.
        progress: Show a progress bar on the terminal.

    Raises:
        UserError: A text does not fit into the context, or the loss is not finite.
    """
    lessons = [*learned, *held_out]
    examples = [example for lesson in lessons for example in lesson.examples]
    reader = BatchReader(loaded, examples, steering_at(layers, None, positions))
    batches = _batches(reader, lessons, range(len(learned)), config)
    kept = _batches(reader, lessons, range(len(learned), len(lessons)), config)
    numbers = numbered(lessons)
    texts = [[one for number in batch for one in numbers[number]] for batch in batches]
    learner = new_learner(loaded, unsteered_stream(reader, texts), config)

    def take(step: int, epoch: int, place: int) -> TrainingStep:
        order = random.Random(f"batches {config.seed} {epoch}").sample(batches, len(batches))

        def learn() -> float:
            total, count = loss(reader, order[place], learner.vectors)
            check_loss(total.item(), step)
            (total / count).backward()
            return total.item() / count

        mean = repeatable(learn, loaded.device)
        learner.step(config.max_dose)
        return TrainingStep(epoch + 1, step, mean, None, learner.dose)

    return run_epochs(
        loaded,
        learner,
        config.epochs,
        len(batches),
        take,
        lambda: _held_out(reader, kept, loss, learner),
        False,
        checkpoint,
        belongs_to,
        _SAVE_SECONDS,
        progress,
    )


def run_epochs(
    loaded: LoadedModel,
    learner: Learner,
    epochs: int,
    steps: int,
    take: Callable[[int, int, int], TrainingStep],
    held_out: Callable[[], float | None],
    higher_is_better: bool,
    checkpoint: str | Path | None,
    belongs_to: str,
    save_seconds: float,
    progress: bool,
) -> Learner:
    """The steps of all epochs, from where a checkpoint left them; see `train`.

    Args:
        loaded: The model.
        learner: New; it learns.
        epochs: How many.
        steps: Of an epoch.
        take: Takes a step: its number (from 1), its epoch and its place in that (both from 0).
        held_out: What is held out, under the current vectors; chooses the epoch.
        higher_is_better: Whether the highest of these is the best, not the lowest.
        checkpoint: As in `train`.
        belongs_to: As in `train`.
        save_seconds: Time between two checkpoints, besides those at the end of an epoch.
        progress: As in `train`.
    """
    if checkpoint is None or not resume_learner(checkpoint, learner, belongs_to):
        learner.log.append(TrainingStep(0, 0, None, held_out(), 0.0))
        learner.end_epoch(0, higher_is_better)
    saved = time.monotonic()
    with (
        frozen(loaded),
        tqdm(
            total=epochs * steps,
            initial=learner.log[-1].step,
            unit="step",
            desc="training",
            disable=None if progress else True,
            leave=False,
        ) as bar,
    ):
        for step in range(learner.log[-1].step + 1, epochs * steps + 1):
            epoch, place = divmod(step - 1, steps)
            found = take(step, epoch, place)
            last = place == steps - 1
            if last:
                found = replace(found, held_out=held_out())
            learner.log.append(found)
            if last:
                learner.end_epoch(epoch + 1, higher_is_better)
            what = (
                f"loss {found.loss:.3f}" if found.reward is None else f"reward {found.reward:.3f}"
            )
            bar.update()
            bar.set_postfix_str(f"{what}, dose {found.dose:.3f}")
            if checkpoint is not None and (last or time.monotonic() - saved >= save_seconds):
                save_learner(checkpoint, learner, belongs_to)
                saved = time.monotonic()
    return learner


def trained_vectors(learner: Learner, layers: Sequence[int]) -> list[Vector]:
    """The vectors of the best epoch; α = 1 is as they were trained."""
    raw = (learner.best * learner.norms[:, None]).cpu()
    rows = zip(layers, raw, learner.norms, learner.means, strict=True)
    return [
        Vector(TRAINED, layer, _float32(row), float(norm), _float32(mean.cpu()))
        for layer, row, norm, mean in rows
    ]


def steering_at(
    layers: Sequence[int], vectors: Tensor | None, positions: Positions
) -> ResidualSteering:
    """Steering of several layers at α = 1.

    Args:
        layers: 0-based.
        vectors: ``[layers, hidden]``; None where they do not matter.
        positions: Which are steered.
    """
    rows = torch.zeros(len(layers), 0) if vectors is None else vectors.detach().float().cpu()
    first, *more = (Place(at, row.clone(), 1.0) for at, row in zip(layers, rows, strict=True))
    return ResidualSteering(
        first.layer,
        first.vector,
        first.alpha,
        positions.scope,
        positions.first_k,
        more=tuple(more),
        window=positions.window,
        tokens=positions.tokens,
    )


def unsteered_stream(reader: BatchReader, batches: Sequence[Sequence[int]]) -> UnsteeredStream:
    """The unsteered residual stream from the last prompt token on.

    Args:
        reader: Of the texts, and of the layers.
        batches: Numbers of the texts.
    """
    found = [reader.residual_sums(reader.batch(batch)) for batch in batches]
    count = sum(count for _, _, count in found)
    norms = torch.stack([one for one, _, _ in found]).sum(dim=0) / count  # [layers]
    means = torch.stack([one for _, one, _ in found]).sum(dim=0) / count  # [layers, hidden]
    return UnsteeredStream(norms.float(), means.float())


def _batches(
    reader: BatchReader, lessons: Sequence[Lesson], numbers: Sequence[int], config: TrainingConfig
) -> list[list[int]]:
    """Lessons of similar length together, within the budget of tokens."""
    if not numbers:
        return []
    lengths = [
        max(reader.columns(one) for one in lessons[n].examples) * len(lessons[n].examples)
        for n in numbers
    ]
    found = token_batches(lengths, config.batch_tokens)
    return [[numbers[position] for position in batch] for batch in found]


@torch.no_grad()
def _held_out(
    reader: BatchReader, batches: Sequence[Sequence[int]], loss: Loss, learner: Learner
) -> float | None:
    """Mean loss on lessons that are not learned from; None where there are none."""
    if not batches:
        return None
    found = [loss(reader, batch, learner.vectors) for batch in batches]
    return sum(total.item() for total, _ in found) / sum(count for _, count in found)


def _float32(row: Tensor) -> Array:
    array: Array = row.detach().float().numpy()
    return array
