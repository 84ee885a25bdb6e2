"""Rows of a data set as problems; all rows that are none are named at once."""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from snakesteer.data.gold import gold_solution, parse_gold
from snakesteer.data.problem import Problem
from snakesteer.errors import UserError

logger = logging.getLogger(__name__)

NAMED = 10  # bad rows that a message names; of the others it gives the number

# What some data sets write in front of a question; templates have their own. The languages are
# those of MGSM.
_LABEL = re.compile(
    r"\A\s*(?:question|problem|pregunta|frage|задача|swali|问题|問題|โจทย์|প্রশ্ন|ప్రశ్న)\s*[:\uff1a]\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fields:
    """The fields of a row that are read.

    Attributes:
        question: Make the question, joined by blanks.
        answer: Has the gold solution, or its number alone.
        group: Is the same in all variations of one problem, if there is such a field.
    """

    question: tuple[str, ...] = ("question",)
    answer: str = "answer"
    group: str | None = None


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        place: File or data set, for messages.
        row_name: What it calls a row, ``line`` or ``row``, for messages.
        id_prefix: First part of the ids, such as ``gsm8k-train``.
    """

    place: str
    row_name: str
    id_prefix: str


class BadRow(ValueError):
    """A row that is no problem.

    Args:
        problem: What is wrong with it.
        remedy: What the user should do.
        of_answer: Whether it is no more than that its answer is not one number.
    """

    def __init__(self, problem: str, remedy: str, of_answer: bool = False) -> None:
        self.problem, self.remedy, self.of_answer = problem, remedy, of_answer
        super().__init__(problem)


def problems_from_rows(
    rows: Iterable[tuple[int, bytes | Any]],
    source: Source,
    fields: Fields = Fields(),
    leave_out: bool = False,
) -> list[Problem]:
    """Make problems of numbered rows.

    Args:
        rows: Number of each row in its source, counted from 1, and the row: a line of JSON, or what
            such a line holds.
        source: Where they come from. The last part of an id is the row's place among the rows,
            counted from 0, whether rows before it are left out or not.
        fields: The fields that are read.
        leave_out: Leave out, with a warning, rows whose answer is not one number.

    Raises:
        UserError: Rows are no problems. Names the first ten, and the number of all.
    """
    problems: list[Problem] = []
    bad: list[tuple[int, BadRow]] = []
    count = 0
    for index, (number, row) in enumerate(rows):
        count += 1
        try:
            values = _from_line(row) if isinstance(row, bytes) else row
            problems.append(problem_from_row(values, f"{source.id_prefix}-{index:05d}", fields))
        except BadRow as error:
            bad.append((number, error))
    worse = [row for row in bad if not (leave_out and row[1].of_answer)]
    if worse:
        remedies = dict.fromkeys(error.remedy for _, error in worse[:NAMED])
        raise UserError(_told(worse, count, source), " ".join(remedies))
    if bad:
        logger.warning("left out: %s", _told(bad, count, source))
    return problems


def check_characters(name: str, text: str) -> None:
    """Refuse a text that no tokenizer reads.

    Args:
        name: Of the field.
        text: What it holds.

    Raises:
        BadRow: It holds half a character.
    """
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise BadRow(
            f"{name!r} holds half a character (a lone surrogate such as \\ud800)",
            "Save the text as UTF-8 anew, or remove the row.",
        )


def problem_from_row(row: Any, id_: str, fields: Fields = Fields()) -> Problem:
    """Make a problem of one row.

    Args:
        row: The row.
        id_: The problem's id.
        fields: The fields that are read.

    Raises:
        BadRow: It is not an object, a field is missing, or the answer is not one number.
    """
    if not isinstance(row, Mapping):
        raise BadRow(
            f"a JSON {type(row).__name__}, not an object",
            'Every row must be one JSON object such as {"question": …, "answer": …}.',
        )
    texts = []
    for field in fields.question:
        text = _LABEL.sub("", row[field]) if isinstance(row.get(field), str) else ""
        if not text.strip():
            raise BadRow(_lacks(row, field, "text"), _give(field, "question_fields"))
        texts.append(text)
    if not _is_answer(row.get(fields.answer)):
        raise BadRow(
            _lacks(row, fields.answer, "text or a number"),
            _give(fields.answer, "answer_field"),
            of_answer=fields.answer in row,
        )
    group = None if fields.group is None else _group(row, fields.group)
    for name in (*fields.question, fields.answer, fields.group):
        if name:
            check_characters(name, str(row[name]))
    try:
        solution = gold_solution(row[fields.answer])
        gold = parse_gold(solution)
    except ValueError as error:
        raise BadRow(
            f"{error} ({str(row[fields.answer])[-60:]!r})",
            "End the answer with a line '#### ' and one number, or let it be one number alone, an "
            "integer or a decimal with its unit, if any; or remove the row (or set "
            "data.unreadable_answers: leave_out).",
            of_answer=True,
        ) from None
    return Problem(id_, " ".join(texts), solution, gold, group)


def _from_line(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 ({error.reason})", "Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise BadRow(
            f"not JSON ({error})",
            "Every line must be one JSON object; lists belong into a file .json, tables into .csv.",
        ) from None


def _is_answer(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _group(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not (isinstance(value, str) and value.strip()):
        raise BadRow(
            _lacks(row, field, "text or a whole number"),
            f"Give every row a {field!r}, or set data.group_field to a field that all have, or to "
            "null.",
        )
    return str(value).strip()


def _lacks(row: Mapping[str, Any], field: str, kind: str) -> str:
    there = f". The row has {', '.join(map(repr, row))}" if field not in row else ""
    return f"{field!r} is missing, empty or not {kind}{there}"


def _give(field: str, key: str) -> str:
    return f"Give the row a {field!r}, or remove the row; data.{key} says which is read."


def _told(bad: list[tuple[int, BadRow]], count: int, source: Source) -> str:
    """The first bad rows, those with one fault behind one another together, and how many."""
    by_fault: dict[str, list[str]] = {}
    for number, error in bad[:NAMED]:
        by_fault.setdefault(error.problem, []).append(str(number))
    told = [
        f"{source.row_name}{'s' * (len(rows) > 1)} {', '.join(rows)}: {fault}"
        for fault, rows in by_fault.items()
    ]
    more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    total = f" ({len(bad)} of {count} rows)" if len(bad) > 1 else ""
    return f"{source.place}, {'; '.join(told)}{more}{total}"
