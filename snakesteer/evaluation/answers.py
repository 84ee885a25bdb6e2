"""Problems in, graded answers out."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from snakesteer.config import GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine, Finish, Generation, Request, Session
from snakesteer.errors import UserError
from snakesteer.evaluation.chat_marks import marks_of
from snakesteer.evaluation.grading import grade
from snakesteer.evaluation.repetition import is_degenerate
from snakesteer.evaluation.shown_text import ChatMarks
from snakesteer.records.files import read_jsonl, write_jsonl
from snakesteer.records.library_causes import RESULT
from snakesteer.steering.kinds import Steering

T = TypeVar("T")

# What is told of the tokens of an answer, where there is something to tell.
BY_TOKEN = ("alpha_t", "steered_share")


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
        steered_share: Share of the tokens at which a gate let steering through; None without a
            gate. No part of a comparison.
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
    steered_share: float | None = field(default=None, compare=False)


def named_seed(name: str) -> int:
    """The seed of the random stream of this name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


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
    seed = named_seed(f"{generation.seed} {problem.id} {sample}")
    return Request(prompter.ids(problem.question), generation.max_new_tokens, steering, seed)


def grade_generation(
    problem: Problem, request: Request, generation: Generation, chat: ChatMarks
) -> Answer:
    """Grade one generation, in the format that a chat's marks tell."""
    marks = grade(generation.text, problem.gold, problem.answer, generation.finish, chat)
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
        steered_share=generation.steered_share,
    )


class AnswerQueue:
    """Problems into an engine's session, graded answers out, each when it ends.

    Args:
        session: The engine's.
        prompter: Builds the prompts.
        generation: Limit and seed.
    """

    def __init__(self, session: Session, prompter: Prompter, generation: GenerationConfig) -> None:
        self._session = session
        self._prompter = prompter
        self._generation = generation
        self._chat = marks_of(prompter)
        self._waiting: dict[int, tuple[Problem, Request]] = {}

    def add(
        self,
        asked: Sequence[tuple[Problem, Steering | None]],
        priority: int = 0,
        sample: int = 0,
    ) -> list[int]:
        """Ask problems, each under a steering; a ticket for each.

        Args:
            asked: None is the unsteered model.
            priority: See `Session.add`.
            sample: Names the random streams, see `make_request`.
        """
        requests = [
            make_request(self._prompter, problem, steering, self._generation, sample)
            for problem, steering in asked
        ]
        tickets = self._session.add(requests, priority)
        for ticket, (problem, _), request in zip(tickets, asked, requests, strict=True):
            self._waiting[ticket] = (problem, request)
        return tickets

    def drop(self, tickets: Collection[int]) -> None:
        """Forget what has not ended."""
        self._session.drop(tickets)
        for ticket in tickets:
            self._waiting.pop(ticket, None)

    def ended(self) -> list[tuple[int, Answer]]:
        """Work until an answer ends; tickets and answers, none if nothing is left."""
        while found := self._session.ended():
            answers = [
                (ticket, grade_generation(*self._waiting.pop(ticket), generation, self._chat))
                for ticket, generation in found
                if ticket in self._waiting  # it may have ended while it was dropped
            ]
            if answers:
                return answers
        return []


def answer_all(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    steerings: Sequence[Steering | None],
    generation: GenerationConfig,
    sample: int = 0,
    chunk_size: int | None = None,
) -> list[list[Answer]]:
    """Answer problems under several steerings in one session of the engine.

    Args:
        engine: The engine.
        prompter: Builds the prompts.
        problems: What to answer.
        steerings: None is the unsteered model.
        generation: Limit and seed.
        sample: Names the random streams, see `make_request`.
        chunk_size: Problems that are asked together; None asks all.

    Returns:
        For every steering the answers in the order of the problems.
    """
    places: dict[int, tuple[int, int]] = {}
    rows: list[dict[int, Answer]] = [{} for _ in steerings]
    with engine.session() as session:
        queue = AnswerQueue(session, prompter, generation)
        for part in chunks(range(len(problems)), chunk_size or max(1, len(problems))):
            cells = [(row, column) for row in range(len(steerings)) for column in part]
            asked = [(problems[column], steerings[row]) for row, column in cells]
            places.update(zip(queue.add(asked, sample=sample), cells, strict=True))
        while found := queue.ended():
            for ticket, answer in found:
                row, column = places[ticket]
                rows[row][column] = answer
    return [[row[column] for column in range(len(problems))] for row in rows]


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Problems in consecutive chunks, between which a search may prune."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def answer_in_chunks(
    engine: Engine,
    prompter: Prompter,
    generation: GenerationConfig,
    chunk_size: int,
    problems: Sequence[Problem],
    steering: Steering | None = None,
) -> list[Answer]:
    """Answer problems under one steering, or without, asked in the chunks of a search.

    So steered and unsteered answers come from the same batches.
    """
    [answers] = answer_all(
        engine, prompter, problems, [steering], generation, chunk_size=chunk_size
    )
    return answers


def accuracy(answers: Sequence[Answer]) -> float:
    """Share of correct answers."""
    return sum(answer.correct for answer in answers) / len(answers)


def summary(answers: Sequence[Answer]) -> dict[str, float | int]:
    """Accuracy under all three graders, and what else changes when steering breaks a model.

    Rates are shares of the answers: without one number as their final answer (``invalid_rate``),
    cut at the limit (``truncated_rate``), both (``unfinished_rate``), or mostly repetitions
    (``repetition_rate``, see `snakesteer.evaluation.repetition`).
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
        "unfinished_rate": sum(a.finish == "length" and a.extracted is None for a in answers) / n,
        "mean_new_tokens": sum(a.new_tokens for a in answers) / n,
        "repetition_rate": sum(is_degenerate(a.text) for a in answers) / n,
    }


def write_answers(path: str | Path, answers: Sequence[Answer]) -> None:
    """Write graded answers as JSONL, atomically."""
    write_jsonl(path, [answer_row(answer) for answer in answers])


def answer_row(answer: Answer) -> dict[str, Any]:
    """An answer as a row of a file; what is told of its tokens where there is something to tell."""
    row = asdict(answer)
    return {name: row[name] for name in row if name not in BY_TOKEN or row[name] is not None}


def read_answers(path: str | Path) -> list[Answer]:
    """Read graded answers.

    Raises:
        UserError: A row that is no answer, or no row.
    """
    if not (answers := [_answer(path, row) for row in read_jsonl(path)]):
        raise UserError(f"{path} holds no answer", RESULT.remedy)
    return answers


def _answer(path: str | Path, row: Mapping[str, Any]) -> Answer:
    try:
        return Answer(**row)
    except TypeError as error:
        raise UserError(
            f"{path} is not a file of graded answers ({error})",
            RESULT.remedy,
        ) from None
