"""Problems in, graded answers out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snakesteer.config import GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine, Finish, Generation, Request
from snakesteer.errors import UserError
from snakesteer.evaluation.grading import grade
from snakesteer.evaluation.repetition import is_degenerate
from snakesteer.records.files import read_jsonl, write_jsonl
from snakesteer.steering.kinds import Steering


@dataclass(frozen=True)
class Answer:
    """One graded generation.

    Attributes:
        id: Of the problem.
        correct: Numeric match, the objective.
        strict: lm-evaluation-harness strict-match.
        flexible: lm-evaluation-harness flexible-extract.
        extracted: The number that was read, None where there is none.
        text: What was generated.
        finish: Why it ended.
        prompt_tokens: Length of the prompt.
        new_tokens: Decoded tokens.
        alpha_t: Mean α_t over them; None where the strength is not dynamic. No part of a
            comparison, as in `Generation`.
    """

    id: str
    correct: bool
    strict: bool
    flexible: bool
    extracted: str | None
    text: str
    finish: Finish
    prompt_tokens: int
    new_tokens: int
    alpha_t: float | None = field(default=None, compare=False)


def make_request(
    prompter: Prompter,
    problem: Problem,
    steering: Steering | None,
    generation: GenerationConfig,
    sample: int = 0,
) -> Request:
    """The request for one answer.

    The random stream depends on the seed, the problem and the sample number, never on the steering:
    steered and unsteered answers share their randomness.
    """
    name = f"{generation.seed} {problem.id} {sample}"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return Request(prompter.ids(problem.question), generation.max_new_tokens, steering, seed)


def grade_generation(problem: Problem, request: Request, generation: Generation) -> Answer:
    """Grade one generation."""
    marks = grade(generation.text, problem.gold, problem.answer)
    return Answer(
        id=problem.id,
        correct=marks.numeric,
        strict=marks.strict,
        flexible=marks.flexible,
        extracted=marks.extracted,
        text=generation.text,
        finish=generation.finish,
        prompt_tokens=len(request.prompt_ids),
        new_tokens=generation.num_tokens,
        alpha_t=generation.alpha_t,
    )


def answer_all(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    steerings: Sequence[Steering | None],
    generation: GenerationConfig,
    sample: int = 0,
) -> list[list[Answer]]:
    """Answer problems under several steerings in one call of the engine.

    Args:
        engine: The engine.
        prompter: Builds the prompts.
        problems: What to answer.
        steerings: None is the unsteered model.
        generation: Limit and seed.
        sample: Names the random streams, see `make_request`.

    Returns:
        For every steering the answers in the order of the problems.
    """
    requests = [
        make_request(prompter, problem, steering, generation, sample)
        for steering in steerings
        for problem in problems
    ]
    generations = engine.generate(requests)
    answers = [
        grade_generation(problem, request, text)
        for problem, request, text in zip(
            list(problems) * len(steerings), requests, generations, strict=True
        )
    ]
    n = len(problems)
    return [answers[start : start + n] for start in range(0, len(answers), n)]


def chunks(problems: Sequence[Problem], size: int) -> list[Sequence[Problem]]:
    """Problems in consecutive chunks, between which a search may prune."""
    return [problems[start : start + size] for start in range(0, len(problems), size)]


def answer_in_chunks(
    engine: Engine,
    prompter: Prompter,
    generation: GenerationConfig,
    chunk_size: int,
    problems: Sequence[Problem],
    steering: Steering | None = None,
) -> list[Answer]:
    """Answer problems under one steering, or without, in the chunks of a search.

    So steered and unsteered answers come from the same batches.
    """
    return [
        answer
        for part in chunks(problems, chunk_size)
        for answer in answer_all(engine, prompter, part, [steering], generation)[0]
    ]


def accuracy(answers: Sequence[Answer]) -> float:
    """Share of correct answers."""
    return sum(answer.correct for answer in answers) / len(answers)


def summary(answers: Sequence[Answer]) -> dict[str, float | int]:
    """Accuracy under all three graders, and what else changes when steering breaks a model.

    Rates are shares of the answers: without a number (``invalid_rate``), cut at the limit
    (``truncated_rate``), or mostly repetitions (``repetition_rate``, see
    `snakesteer.evaluation.repetition`).
    """
    n = len(answers)
    return {
        "accuracy": accuracy(answers),
        "total_samples": n,
        "correct": sum(a.correct for a in answers),
        "incorrect": sum(not a.correct for a in answers),
        "strict_match": sum(a.strict for a in answers) / n,
        "flexible_extract": sum(a.flexible for a in answers) / n,
        "invalid_rate": sum(a.extracted is None for a in answers) / n,
        "truncated_rate": sum(a.finish == "length" for a in answers) / n,
        "mean_new_tokens": sum(a.new_tokens for a in answers) / n,
        "repetition_rate": sum(is_degenerate(a.text) for a in answers) / n,
    }


def write_answers(path: str | Path, answers: Sequence[Answer]) -> None:
    """Write graded answers as JSONL, atomically."""
    write_jsonl(path, [answer_row(answer) for answer in answers])


def answer_row(answer: Answer) -> dict[str, Any]:
    """An answer as a row of a file; α_t is told where there is one."""
    row = asdict(answer)
    if answer.alpha_t is None:
        del row["alpha_t"]
    return row


def read_answers(path: str | Path) -> list[Answer]:
    """Read graded answers.

    Raises:
        UserError: A row that is no answer.
    """
    return [_answer(path, row) for row in read_jsonl(path)]


def _answer(path: str | Path, row: Mapping[str, Any]) -> Answer:
    try:
        return Answer(**row)
    except TypeError as error:
        raise UserError(
            f"{path} is not a file of graded answers ({error})",
            "Delete it and run snakemake again; it will be made anew.",
        ) from None
