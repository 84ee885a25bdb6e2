"""One word problem, and how problems are kept in files.

A gold solution has the format of GSM8K (Cobbe et al. 2021, openai/grade-school-math): prose with
calculator marks such as ``4*7 = <<4*7=28>>28`` and a last line ``#### 28``. Of tasks that only give
the number, the solution is that last line alone.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

from snakesteer.errors import UserError
from snakesteer.records.files import read_jsonl, write_jsonl

# One number: groups of three behind commas or plain digits, with an optional fraction. The
# currency stands before or after the sign ("-$5", "$-5"). A minus right behind a digit, a letter or
# a bracket is an operator or a hyphen. Atomic, so that no match ever ends inside a number.
NUMBER = (
    r"(?>(?:(?<![\w.)\]])(?P<minus>[-−])|\+)?\\?[$€£]?(?P<minus_inside>(?<=[$€£])[-−])?"
    r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+))"
)

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_EQUATION = re.compile(r"\d.*=.*\d")
_FIELDS = {"id", "question", "answer", "gold"}
GOLD_MARK = "####"


@dataclass(frozen=True)
class Problem:
    """A word problem.

    Attributes:
        id: Where it comes from, such as ``gsm8k-train-00012`` (part and row of the source).
        question: The question.
        answer: The full gold solution, ending in ``#### n``; no more than that where the source
            gives only the number.
        gold: The number after ``####`` in canonical form (see `canonical`).
        group: What ``data.group_field`` says of the row: problems of one group are variations of
            one another, and never stand in two splits. Nothing without that key.
    """

    id: str
    question: str
    answer: str
    gold: str
    group: str | None = None


def number_of(match: re.Match[str]) -> Decimal:
    """The exact value of a match of `NUMBER`."""
    value = Decimal(match["digits"].replace(",", ""))
    return value.copy_negate() if match["minus"] or match["minus_inside"] else value


def canonical(number: Decimal) -> str:
    """Write a number without commas, exponent or needless zeros: ``1080``, ``-0.5``, ``18``."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def is_bare(problem: Problem) -> bool:
    """Whether the gold solution is no more than the number."""
    return problem.answer.lstrip().startswith(GOLD_MARK)


def solution_steps(problem: Problem) -> int:
    """Number of calculations that the gold solution writes down; 0 where it shows none.

    In GSM8K these are the calculator marks. A solution without marks has a step in each line with
    an equation: digits on both sides of ``=``.
    """
    solution = problem.answer.rpartition(GOLD_MARK)[0]
    marks = len(_CALCULATOR.findall(solution))
    return marks or sum(_EQUATION.search(line) is not None for line in solution.splitlines())


def strip_calculator(text: str) -> str:
    """Remove calculator marks: ``4*7 = <<4*7=28>>28`` becomes ``4*7 = 28``."""
    return _CALCULATOR.sub("", text)


def one_line(text: str) -> str:
    """A text with single spaces in place of all white space, to compare it word for word."""
    return " ".join(text.split())


def read_problems(path: str | Path, least: int = 1) -> list[Problem]:
    """Read a split as written by `write_problems`.

    Args:
        path: The file.
        least: Problems that must be there; none of a source's part, which may be an empty file.

    Raises:
        UserError: The file is missing, damaged, a row has other fields than those of a problem, a
            problem is there twice, or too few are.
    """
    problems = []
    for number, row in enumerate(read_jsonl(path), start=1):
        if row.keys() - {"group"} != _FIELDS or not all(isinstance(v, str) for v in row.values()):
            raise UserError(
                f"{path}, row {number}: not a problem with the texts {', '.join(sorted(_FIELDS))}",
                "Delete the file and run snakemake again.",
            )
        problems.append(Problem(**row))
    if twice := [id_ for id_, count in Counter(p.id for p in problems).items() if count > 1]:
        raise UserError(
            f"{path}: the problem {twice[0]} is there more than once",
            "Delete the file and run snakemake again; do not edit it by hand.",
        )
    if len(problems) < least:
        raise UserError(f"{path} holds no problem", "Delete the file and run snakemake again.")
    return problems


def write_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write a split: one JSON object ``{id, question, answer, gold}`` a line, atomically.

    A problem of a group has it as a fifth text, ``group``.
    """
    rows = (asdict(problem) for problem in problems)
    write_jsonl(path, ({k: v for k, v in row.items() if v is not None} for row in rows))
