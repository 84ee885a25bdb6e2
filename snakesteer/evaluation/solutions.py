"""The model's own solutions: sampled, graded, ready to be paired."""

from collections.abc import Iterator, Sequence
from typing import Any

from snakesteer.config import GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine, Generation, Request
from snakesteer.evaluation.answers import grade_generation, make_request
from snakesteer.evaluation.chat_marks import marks_of
from snakesteer.steering.kinds import Steering


def sample_solutions(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    generation: GenerationConfig,
    samples: int,
) -> list[dict[str, Any]]:
    """Several unsteered solutions per problem, each from a random stream of its own.

    Args:
        engine: A sampling engine.
        prompter: Builds the prompts.
        problems: What to solve.
        generation: Limit and seed.
        samples: Solutions per problem.

    Returns:
        Rows ``{id, question, text, correct}``, the samples of a problem side by side. Solutions
        that ran into the limit are left out: they end nowhere.
    """
    rows, chat = [], marks_of(prompter)
    for problem, request, text in drawn(engine, prompter, problems, None, generation, samples):
        if text.finish == "length":
            continue
        answer = grade_generation(problem, request, text, chat)
        rows.append(
            {
                "id": problem.id,
                "question": problem.question,
                "text": answer.text,
                "correct": answer.correct,
            }
        )
    return rows


def drawn(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    steering: Steering | None,
    generation: GenerationConfig,
    samples: int,
) -> Iterator[tuple[Problem, Request, Generation]]:
    """Several answers per problem, each from a random stream of its own, those of one side by side.

    Args:
        engine: A sampling engine.
        prompter: Builds the prompts.
        problems: What to answer.
        steering: None leaves the model alone.
        generation: Limit and seed.
        samples: Answers per problem.
    """
    asked = [(problem, sample) for problem in problems for sample in range(samples)]
    requests = [make_request(prompter, p, steering, generation, sample) for p, sample in asked]
    for (problem, _), request, text in zip(asked, requests, engine.generate(requests), strict=True):
        yield problem, request, text
