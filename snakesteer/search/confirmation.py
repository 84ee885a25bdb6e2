"""The best trial on validation problems that the search has not seen."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from snakesteer.config import GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.evaluation.answers import Answer, answer_in_chunks
from snakesteer.search.database import read_db
from snakesteer.search.selection import best_steered, lead, right_answers
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import candidate_from_params
from snakesteer.steering.vector import read_vectors_of


def confirm_best(
    db: str | Path,
    one_standard_error: bool,
    vector_files: Sequence[str | Path],
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    baseline: Sequence[Answer],
    generation: GenerationConfig,
    chunk_size: int,
) -> dict[str, Any]:
    """Answer problems that were kept from the search under the trial that will be tested.

    Args:
        db: The study.
        one_standard_error: `search.one_standard_error`.
        vector_files: All vector files.
        engine: Answers, as it answered the baseline.
        prompter: Builds the prompts.
        problems: Those that were kept.
        baseline: Unsteered answers to them.
        generation: Limit and seed.
        chunk_size: Problems that are asked together, as in the search.

    Returns:
        The content of study/confirmation.json: the trial's number and its lead over no steering.
    """
    best = best_steered(read_db(db).trials, one_standard_error)
    candidate = candidate_from_params(best.user_attrs)
    steering = steering_of(candidate, read_vectors_of(candidate, vector_files))
    answers = answer_in_chunks(engine, prompter, generation, chunk_size, problems, steering)
    found = lead(right_answers(answers), right_answers(baseline))
    return {"trial": best.number, "lead": asdict(found)}
