"""Answers drawn under vectors that are learning, with their rewards."""

from collections.abc import Sequence

from torch import Tensor

from snakesteer.config import GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine, Generation, Request
from snakesteer.evaluation.answers import grade_generation
from snakesteer.evaluation.chat_marks import marks_of
from snakesteer.evaluation.solutions import drawn
from snakesteer.steering.positions import Positions
from snakesteer.vectors.training.lessons import Example
from snakesteer.vectors.training.loop import steering_at
from snakesteer.vectors.training.reinforce import Draw, Rollout


def drawing(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    generation: GenerationConfig,
    samples: int,
    layers: Sequence[int],
    positions: Positions,
) -> Draw:
    """A function that answers problems under the current vectors.

    The reward is 1 for an answer that the numeric grader takes for right, else 0.

    Args:
        engine: A sampling engine.
        prompter: Builds the prompts.
        problems: All that may be asked for.
        generation: Limit on an answer.
        samples: Answers per problem.
        layers: 0-based blocks that the vectors belong to.
        positions: Which are steered.
    """
    chat = marks_of(prompter)
    by_id = {problem.id: problem for problem in problems}

    def draw(names: Sequence[str], vectors: Tensor, seed: int) -> list[Rollout]:
        steering = steering_at(layers, vectors, positions) if bool(vectors.any()) else None
        seeded = generation.model_copy(update={"seed": seed})
        asked = [by_id[name] for name in names]
        found = []
        for problem, request, text in drawn(engine, prompter, asked, steering, seeded, samples):
            reward = float(grade_generation(problem, request, text, chat).correct)
            found.append(Rollout(problem.id, _example(request, text), reward))
        return found

    return draw


def _example(request: Request, text: Generation) -> Example:
    """A drawn answer as it is learned from: every token that was drawn."""
    end = () if text.end is None else (text.end,)
    return Example((*request.prompt_ids, *text.token_ids, *end), len(request.prompt_ids))
