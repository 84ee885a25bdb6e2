"""One word problem: how its gold answer is read, and how problems are kept in files.

A gold solution has the format of GSM8K (Cobbe et al. 2021, openai/grade-school-math): prose with
calculator marks such as ``4*7 = <<4*7=28>>28`` and a last line ``#### 28``. Of tasks that only give
the number, the solution is that last line alone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from snakesteer.errors import UserError
from snakesteer.records.files import read_jsonl, write_jsonl

# One number: groups of three behind commas or plain digits, with an optional fraction. The
# currency stands before or after the sign ("-$5", "$-5"). A minus right behind a digit, a letter or
# a bracket is an operator or a hyphen. Atomic, so that no match ever ends inside a number.
NUMBER = (
    r"(?>(?:(?<![\w.)\]])(?P<minus>[-−])|\+)?\\?[$€£]?(?P<minus_inside>(?<=[$€£])[-−])?"
    r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+))"
)

_LONE_NUMBER = re.compile(rf"\s*{NUMBER}(?P<unit>[^0-9]*)")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_EQUATION = re.compile(r"\d.*=.*\d")
_FIELDS = ("id", "question", "answer", "gold")
_MARK = "####"


@dataclass(frozen=True)
class Problem:
    """A word problem.

    Attributes:
        id: Where it comes from, such as ``gsm8k-train-00012`` (part and row of the source).
        question: The question.
        answer: The full gold solution, ending in ``#### n``; no more than that where the source
            gives only the number.
        gold: The number after ``####`` in canonical form (see `canonical`).
    """

    id: str
    question: str
    answer: str
    gold: str


def number_of(match: re.Match[str]) -> Decimal:
    """The exact value of a match of `NUMBER`."""
    value = Decimal(match["digits"].replace(",", ""))
    return value.copy_negate() if match["minus"] or match["minus_inside"] else value


def parse_number(text: str) -> Decimal | None:
    """Read a text that is one number and nothing else but its unit.

    Commas, signs, decimals, a currency sign in front and a dot, ``%`` or words behind are allowed:
    ``-$1,080.50``, ``18.``, ``50%`` and ``18 dollars`` are numbers; ``1/2`` and ``3 or 4`` are not.
    """
    match = _LONE_NUMBER.fullmatch(text)
    return number_of(match) if match else None


def canonical(number: Decimal) -> str:
    """Write a number without commas, exponent or needless zeros: ``1080``, ``-0.5``, ``18``."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def parse_gold(answer: str) -> str:
    """The canonical form of the number after the last ``####`` of a gold solution.

    Raises:
        ValueError: There is no ``####``, or what follows is not one number.
    """
    _, mark, tail = answer.rpartition(_MARK)
    number = parse_number(tail) if mark else None
    if number is None:
        raise ValueError("no number after ####" if mark else "no #### in the answer")
    return canonical(number)


def gold_solution(value: str | float) -> str:
    """The gold solution that a source's answer stands for.

    Args:
        value: A solution with ``####``, or one number: a JSON number, or a text as `parse_number`
            reads it.

    Returns:
        The solution, or ``#### n`` for a bare number.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str) and _MARK in value:
        return value
    number = parse_number(value) if isinstance(value, str) else Decimal(str(value))
    if number is None:
        raise ValueError("no #### in the answer, which is not one number either")
    if not number.is_finite():
        raise ValueError("the answer is not a finite number")
    return f"{_MARK} {canonical(number)}"


def is_bare(problem: Problem) -> bool:
    """Whether the gold solution is no more than the number."""
    return problem.answer.lstrip().startswith(_MARK)


def solution_steps(problem: Problem) -> int:
    """Number of calculations that the gold solution writes down; 0 where it shows none.

    In GSM8K these are the calculator marks. A solution without marks has a step in each line with
    an equation: digits on both sides of ``=``.
    """
    solution = problem.answer.rpartition(_MARK)[0]
    marks = len(_CALCULATOR.findall(solution))
    return marks or sum(_EQUATION.search(line) is not None for line in solution.splitlines())


def strip_calculator(text: str) -> str:
    """Remove calculator marks: ``4*7 = <<4*7=28>>28`` becomes ``4*7 = 28``."""
    return _CALCULATOR.sub("", text)


def problem_from_row(
    row: Mapping[str, Any],
    path: str | Path,
    line: int,
    id_prefix: str,
    index: int,
    question_fields: Sequence[str] = ("question",),
    answer_field: str = "answer",
) -> Problem:
    """Make a problem of a source row.

    Args:
        row: The row.
        path: File or data set it comes from, for the error.
        line: Its line there, counted from 1, for the error.
        id_prefix: First part of the id, such as ``gsm8k-train``.
        index: Row number in the source, counted from 0: the last part of the id.
        question_fields: Fields that make the question, joined by blanks.
        answer_field: Field with the gold solution, or with its number alone.

    Raises:
        UserError: A field is missing, or the answer has no number.
    """
    place = f"{path}, line {line}"
    for field in (*question_fields, answer_field):
        value = row.get(field)
        number = field == answer_field and isinstance(value, int | float)
        number = number and not isinstance(value, bool)
        if not number and not (isinstance(value, str) and value.strip()):
            kind = "text or a number" if field == answer_field else "text"
            there = f" The row has {', '.join(map(repr, row))}." if field not in row else ""
            raise UserError(
                f"{place}: {field!r} is missing, empty or not {kind}.{there}",
                f"Give the row a {field!r}, or remove the row; data.question_fields and "
                "data.answer_field say which fields are read.",
            )
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            raise UserError(
                f"{place}: {field!r} holds half a character (a lone surrogate such as \\ud800)",
                "Save the text as UTF-8 anew, or remove the row.",
            )
    try:
        answer = gold_solution(row[answer_field])
        gold = parse_gold(answer)
    except ValueError as error:
        raise UserError(
            f"{place}: {error} ({str(row[answer_field])[-60:]!r})",
            "End the answer with a line '#### ' and one number, or let it be one number alone, an "
            "integer or a decimal; or remove the row.",
        ) from None
    question = " ".join(row[field] for field in question_fields)
    return Problem(f"{id_prefix}-{index:05d}", question, answer, gold)


def read_problems(path: str | Path) -> list[Problem]:
    """Read a split as written by `write_problems`.

    Raises:
        UserError: The file is missing, damaged, a row lacks one of the four fields, or a problem
            is there twice.
    """
    problems = []
    for number, row in enumerate(read_jsonl(path), start=1):
        if set(row) != set(_FIELDS) or not all(isinstance(row[field], str) for field in _FIELDS):
            raise UserError(
                f"{path}, row {number}: not a problem with the texts {', '.join(_FIELDS)}",
                "Delete the file and run snakemake again.",
            )
        problems.append(Problem(**row))
    if twice := [id_ for id_, count in Counter(p.id for p in problems).items() if count > 1]:
        raise UserError(
            f"{path}: the problem {twice[0]} is there more than once",
            "Delete the file and run snakemake again; do not edit it by hand.",
        )
    return problems


def write_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write a split: one JSON object ``{id, question, answer, gold}`` a line, atomically."""
    write_jsonl(path, (asdict(problem) for problem in problems))
