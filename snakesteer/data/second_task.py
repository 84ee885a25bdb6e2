"""A second task, on which a run looks at what its steering does elsewhere: problems or choices.

One JSON object a line. Problems have ``question`` and ``answer`` as in docs/tasks.md; multiple
choice has ``question``, ``choices`` (texts) and ``answer``, the index of the right one from 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakesteer.data.problem import Problem
from snakesteer.data.rows import BadRow, check_characters, problem_from_row
from snakesteer.errors import UserError
from snakesteer.records.files import read_jsonl


@dataclass(frozen=True)
class ChoiceProblem:
    """A multiple-choice question.

    Attributes:
        id: Its row in the file.
        question: The question.
        choices: At least two.
        answer: Index of the right one.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int


def read_second_task(path: str | Path) -> list[Problem] | list[ChoiceProblem]:
    """Read a second task; its first row says of which kind it is.

    Raises:
        UserError: The file is missing, holds nothing, or a row is not of its kind; names the row.
    """
    rows = read_jsonl(path)
    if not rows:
        raise UserError(
            f"off_target.task_file is {str(path)!r}, which holds no row",
            "Give it one JSON object a line, or set off_target.task_file: null.",
        )
    name = Path(path).stem
    if "choices" in rows[0]:
        return [_choices(row, path, f"{name}-{n:05d}", n + 1) for n, row in enumerate(rows)]
    return [_problem(row, path, name, n) for n, row in enumerate(rows)]


def _problem(row: Mapping[str, Any], path: str | Path, name: str, index: int) -> Problem:
    place = f"{path}, row {index + 1}"
    if "choices" in row:
        raise _refused(place, "'choices' beside rows without", "Put each kind into its own file.")
    _check_question(row, place)
    answer = row.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise _refused(
            place,
            "'answer' is missing, or not text or a number",
            "End it with a line '#### ' and one number, or let it be one number alone; multiple "
            "choice needs 'choices' in every row.",
        )
    try:
        return problem_from_row(row, f"{name}-{index:05d}")
    except BadRow as error:
        raise _refused(place, error.problem, error.remedy) from None


def _choices(row: Mapping[str, Any], path: str | Path, name: str, number: int) -> ChoiceProblem:
    place = f"{path}, row {number}"
    _check_question(row, place)
    choices, answer = row.get("choices"), row.get("answer")
    texts = isinstance(choices, list) and all(isinstance(c, str) and c.strip() for c in choices)
    if not isinstance(choices, list) or not texts or len(choices) < 2:
        raise _refused(
            place,
            f"'choices' is {str(choices)[:60]}, not a list of two texts or more",
            'Write it as ["yes", "no"].',
        )
    if len(set(choices)) < len(choices):
        raise _refused(place, "'choices' names a text twice", "Name each choice once.")
    whole = isinstance(answer, int) and not isinstance(answer, bool)
    if not isinstance(answer, int) or not whole or not 0 <= answer < len(choices):
        raise _refused(
            place,
            f"'answer' is {str(answer)[:60]!r}, not the index of one of {len(choices)} choices",
            f"Write the place of the right choice, from 0 to {len(choices) - 1}.",
        )
    try:
        check_characters("question", row["question"])
        check_characters("choices", "".join(choices))
    except BadRow as error:
        raise _refused(place, error.problem, error.remedy) from None
    return ChoiceProblem(name, row["question"], tuple(choices), answer)


def _check_question(row: Mapping[str, Any], place: str) -> None:
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        found = ", ".join(map(repr, row)) or "no fields"
        raise _refused(
            place,
            f"'question' is missing, empty or not text (the row has {found})",
            "Give the row a 'question', or remove the row.",
        )


def _refused(place: str, problem: str, remedy: str) -> UserError:
    return UserError(f"off_target.task_file: {place}: {problem}", remedy)
