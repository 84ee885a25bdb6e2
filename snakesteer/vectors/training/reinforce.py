"""Training on the model's own answers: those with a higher reward than others become likelier.

Sinii et al. 2025, "Steering LLM Reasoning Through Bias-Only Adaptation" (arXiv 2505.18706): one
vector per layer, added to the block's output, learns by reinforcement with a verifiable reward.
The advantage of an answer is its reward minus the mean reward of the problem's other answers
(leave-one-out, Ahmadian et al. 2024, arXiv 2402.14740). Answers are drawn under the current vectors
and learned from once.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from snakesteer.config import TrainingConfig
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.positions import DEFAULT_POSITIONS, Positions
from snakesteer.steering.residual import ResidualSteering
from snakesteer.vectors.capture import token_batches
from snakesteer.vectors.training.gradients import repeatable
from snakesteer.vectors.training.learner import Learner, check_loss
from snakesteer.vectors.training.lessons import Example
from snakesteer.vectors.training.loop import run_epochs, steering_at
from snakesteer.vectors.training.objectives import divergence, log_likelihood
from snakesteer.vectors.training.reading import BatchReader
from snakesteer.vectors.training.steps import TrainingStep

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rollout:
    """An answer that was drawn.

    Attributes:
        problem: Id of the problem.
        example: Prompt and answer.
        reward: 1 for a right answer, else 0.
    """

    problem: str
    example: Example
    reward: float


# Ids of problems, vectors ``[layers, hidden]``, a seed → several answers to each problem.
Draw = Callable[[Sequence[str], Tensor, int], list[Rollout]]


def reinforce(
    loaded: LoadedModel,
    learner: Learner,
    learned: Sequence[str],
    held_out: Sequence[str],
    draw: Draw,
    layers: Sequence[int],
    config: TrainingConfig,
    positions: Positions = DEFAULT_POSITIONS,
    checkpoint: str | Path | None = None,
    belongs_to: str = "",
    progress: bool = False,
) -> Learner:
    """Train one vector per layer on rewards. The same seed on the same machine: the same bits.

    Args:
        loaded: The model; its weights do not change.
        learner: New vectors of these layers.
        learned: Ids of the problems that are learned from.
        held_out: Ids of those whose mean reward chooses the epoch.
        draw: Answers problems under the current vectors.
        layers: 0-based blocks whose output is changed.
        config: How, and how answers are drawn.
        positions: Which are steered.
        checkpoint: File that keeps the training through a kill; written after every step.
        belongs_to: A hash of everything that the training depends on; see `resume_learner`.
        progress: Show a progress bar on the terminal.

    Returns:
        The learner.

    Raises:
        UserError: An answer does not fit into the context, or the loss is not finite.
    """
    rounds = -(-len(learned) // config.problems_per_step)

    def take(step: int, epoch: int, place: int) -> TrainingStep:
        order = random.Random(f"problems {config.seed} {epoch}").sample(learned, len(learned))
        asked = order[place * config.problems_per_step :][: config.problems_per_step]
        rollouts = draw(asked, learner.vectors.detach(), _seed(config, step))
        steering = steering_at(layers, None, positions)
        found = _learn(loaded, learner, rollouts, steering, config, epoch + 1, step)
        logger.info("step %d: mean reward %.3f, dose %.4f", step, found.reward, found.dose)
        return found

    return run_epochs(
        loaded,
        learner,
        config.epochs,
        rounds,
        take,
        lambda: _mean_reward(held_out, draw, learner, config),
        True,
        checkpoint,
        belongs_to,
        0.0,
        progress,
    )


def advantages(rollouts: Sequence[Rollout]) -> list[float]:
    """Reward of every answer minus the mean reward of the same problem's other answers.

    A problem's only answer has nothing to compare with: its advantage is 0.
    """
    rewards: dict[str, list[float]] = {}
    for one in rollouts:
        rewards.setdefault(one.problem, []).append(one.reward)
    found = []
    for one in rollouts:
        total, others = sum(rewards[one.problem]), len(rewards[one.problem]) - 1
        found.append(one.reward - (total - one.reward) / others if others else 0.0)
    return found


def policy_loss(
    reader: BatchReader,
    indices: Sequence[int],
    weights: Sequence[float],
    vectors: Tensor,
    config: TrainingConfig,
) -> tuple[Tensor, Tensor]:
    """What is minimised on a batch of answers, summed.

    Args:
        reader: Of the answers.
        indices: Which of them.
        weights: Their advantages.
        vectors: ``[layers, hidden]``.
        config: Temperature, and the weight of the KL.

    Returns:
        −Σ advantage · log-probability of the answer, and Σ KL over its tokens (0 where it has no
        weight); nats.
    """
    batch = reader.batch(indices)
    logits = reader.logits(batch, vectors)
    said = log_likelihood(logits, batch, config.temperature)
    gain = (torch.tensor(weights, device=said.device) * said).sum()
    if config.kl == 0.0:
        return -gain, said.new_zeros(())
    with torch.no_grad():
        unsteered = reader.logits(batch, None)
    return -gain, divergence(logits, unsteered, batch, config.temperature)


def _learn(
    loaded: LoadedModel,
    learner: Learner,
    rollouts: Sequence[Rollout],
    steering: ResidualSteering,
    config: TrainingConfig,
    epoch: int,
    step: int,
) -> TrainingStep:
    """One step of the optimizer on one round of answers, batch by batch."""
    weights = advantages(rollouts)
    # Without an advantage there is nothing to learn but the KL.
    used = [i for i, weight in enumerate(weights) if weight != 0.0 or config.kl > 0.0]
    reward = sum(one.reward for one in rollouts) / len(rollouts)
    if not used:
        return TrainingStep(epoch, step, None, None, learner.dose, reward)
    examples = [rollouts[i].example for i in used]
    reader = BatchReader(loaded, examples, steering)
    tokens = sum(len(one.token_ids) - one.prompt_tokens for one in examples)
    lost, drifted = 0.0, 0.0

    def learn(batch: Sequence[int]) -> tuple[float, float]:
        own = [weights[used[i]] for i in batch]
        loss, kl = policy_loss(reader, batch, own, learner.vectors, config)
        (loss / len(rollouts) + config.kl * kl / tokens).backward()
        return loss.item(), kl.item()

    lengths = [reader.columns(one) for one in examples]
    for batch in token_batches(lengths, config.batch_tokens):
        loss, kl = repeatable(partial(learn, batch), loaded.device)
        lost, drifted = lost + loss, drifted + kl
    mean_kl = drifted / tokens
    value = lost / len(rollouts) + config.kl * mean_kl
    check_loss(value, step)
    learner.step(config.max_dose)
    return TrainingStep(
        epoch, step, value, None, learner.dose, reward, mean_kl if config.kl else None
    )


def _mean_reward(
    problems: Sequence[str], draw: Draw, learner: Learner, config: TrainingConfig
) -> float | None:
    """Mean reward of problems that are not learned from; None where there are none."""
    if not problems:
        return None
    # The same random streams in every epoch: what differs is the vectors' doing.
    rollouts = draw(problems, learner.vectors.detach(), _seed(config, 0))
    return sum(one.reward for one in rollouts) / len(rollouts)


def _seed(config: TrainingConfig, step: int) -> int:
    return random.Random(f"rollouts {config.seed} {step}").getrandbits(32)
