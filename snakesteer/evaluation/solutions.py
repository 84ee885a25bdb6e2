"""The model's own solutions: sampled, graded, ready to be paired."""

from collections.abc import Sequence
from typing import Any

from snakesteer.config import GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.evaluation.answers import grade_generation, make_request


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
    asked = [(problem, sample) for problem in problems for sample in range(samples)]
    requests = [make_request(prompter, p, None, generation, sample) for p, sample in asked]
    rows = []
    for (problem, _), request, text in zip(asked, requests, engine.generate(requests), strict=True):
        if text.finish == "length":
            continue
        answer = grade_generation(problem, request, text)
        rows.append(
            {
                "id": problem.id,
                "question": problem.question,
                "text": answer.text,
                "correct": answer.correct,
            }
        )
    return rows
