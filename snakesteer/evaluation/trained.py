"""From problems to trained vectors, whatever the objective."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snakesteer.config import GenerationConfig, TrainingConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.errors import UserError
from snakesteer.evaluation.rollouts import drawing
from snakesteer.models.loading import LoadedModel
from snakesteer.records.files import sha256_text
from snakesteer.steering.bands import mean_dose
from snakesteer.steering.positions import Positions
from snakesteer.steering.vector import Vector
from snakesteer.vectors.training.learner import Learner, new_learner
from snakesteer.vectors.training.lessons import (
    Lesson,
    gold_lessons,
    held_out_problems,
    lessons_sha256,
    own_lessons,
    preference_lessons,
    split_lessons,
)
from snakesteer.vectors.training.loop import (
    steering_at,
    train,
    trained_vectors,
    unsteered_stream,
)
from snakesteer.vectors.training.objectives import likelihood, preference
from snakesteer.vectors.training.reading import BatchReader
from snakesteer.vectors.training.reinforce import reinforce

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Task:
    """What vectors are trained for.

    Attributes:
        loaded: The model.
        prompter: Builds the prompts.
        problems: Of the train split, few-shot examples left out.
        solutions: The model's own samples of these, for `own_correct` and `preference`.
        layers: 0-based blocks that are steered together.
        positions: Which are steered.
    """

    loaded: LoadedModel
    prompter: Prompter
    problems: Sequence[Problem]
    solutions: Sequence[Mapping[str, Any]]
    layers: Sequence[int]
    positions: Positions


def lessons_of(task: Task, config: TrainingConfig) -> list[Lesson]:
    """The texts that an objective learns from; for `reinforce`, those that give the norms."""
    match config.objective:
        case "own_correct":
            return own_lessons(task.prompter, task.problems, task.solutions)
        case "preference":
            return preference_lessons(task.prompter, task.problems, task.solutions)
        case "sft" | "reinforce":
            return gold_lessons(task.prompter, task.problems)


def train_vectors(
    task: Task,
    config: TrainingConfig,
    generation: GenerationConfig,
    sampler: Callable[[], Engine],
    checkpoint: str | Path,
    source: Mapping[str, Any],
) -> tuple[list[Vector], Learner, dict[str, Any]]:
    """Train a vector per layer, all layers together.

    Args:
        task: What for.
        config: How.
        generation: Limit on an answer, for `reinforce`.
        sampler: Makes the engine that draws answers, for `reinforce`.
        checkpoint: File that keeps the training through a kill.
        source: Of model, prompts and code: a checkpoint of other ones is not taken up.

    Returns:
        The vectors of the best epoch, the log, and what the vectors' files say of the training.
    """
    lessons = lessons_of(task, config)
    data = lessons_sha256(lessons)
    belongs_to = sha256_text(
        json.dumps([config.model_dump(), [*task.layers], asdict(task.positions), data, source])
    )
    run = _reinforced if config.objective == "reinforce" else _taught
    learner = run(task, config, lessons, generation, sampler, Path(checkpoint), belongs_to)
    ends = [step for step in learner.log if step.held_out is not None]
    chosen = next((step for step in ends if step.epoch == learner.best_epoch), None)
    vectors = trained_vectors(learner, task.layers)
    problems = {lesson.problem for lesson in lessons}
    told = {
        "objective": config.objective,
        "training": config.model_dump(),
        "problems": len(problems),
        "held_out_problems": len(held_out_problems([*problems], config.held_out, config.seed)),
        "epoch": learner.best_epoch,
        "loss": next(
            (s.loss for s in reversed(learner.log) if s.epoch == learner.best_epoch), None
        ),
        "held_out_before": ends[0].held_out if ends else None,
        "held_out": chosen.held_out if chosen else None,
        "data_sha256": data,
        "trained_layers": [*task.layers],
        **asdict(task.positions),
    }
    dose = mean_dose(vectors)
    logger.info("%s: epoch %d is taken, dose %.4f", config.objective, learner.best_epoch, dose)
    if dose == 0.0:
        raise UserError(
            f"The training ({config.objective}) learned nothing: its vector is 0",
            "Texts of which steering.scope steers no token teach nothing, nor do rewards that are "
            "all equal: take another scope, or raise training.samples or data.train.",
        )
    before = ends[0].held_out if ends else None
    after = chosen.held_out if chosen else None
    higher = config.objective == "reinforce"
    if before is not None and after is not None and (after > before) != higher:
        logger.warning("on held-out problems no epoch did better than no vector")
    return vectors, learner, told


def _taught(
    task: Task,
    config: TrainingConfig,
    lessons: Sequence[Lesson],
    generation: GenerationConfig,
    sampler: Callable[[], Engine],
    checkpoint: Path,
    belongs_to: str,
) -> Learner:
    learned, kept = split_lessons(lessons, config.held_out, config.seed)
    every = [*learned, *kept]
    loss = preference(every, config.beta) if config.objective == "preference" else likelihood(every)
    return train(
        task.loaded,
        learned,
        kept,
        loss,
        task.layers,
        config,
        task.positions,
        checkpoint,
        belongs_to,
        progress=True,
    )


def _reinforced(
    task: Task,
    config: TrainingConfig,
    lessons: Sequence[Lesson],
    generation: GenerationConfig,
    sampler: Callable[[], Engine],
    checkpoint: Path,
    belongs_to: str,
) -> Learner:
    learned, kept = split_lessons(lessons, config.held_out, config.seed)
    examples = [lesson.examples[0] for lesson in learned]
    steering = steering_at(task.layers, None, task.positions)
    reader = BatchReader(task.loaded, examples, steering)
    stream = unsteered_stream(reader, [[number] for number in range(len(examples))])
    draw = drawing(
        sampler(),
        task.prompter,
        task.problems,
        generation,
        config.samples,
        task.layers,
        task.positions,
    )
    return reinforce(
        task.loaded,
        new_learner(task.loaded, stream, config),
        [lesson.problem for lesson in learned],
        [lesson.problem for lesson in kept],
        draw,
        task.layers,
        config,
        task.positions,
        checkpoint,
        belongs_to,
        progress=True,
    )
