"""Contrast pairs: a right and a wrong solution of the same train problem."""

import logging
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from snakesteer.data.problem import Problem, is_bare, strip_calculator
from snakesteer.errors import UserError
from snakesteer.records.files import read_jsonl, write_jsonl
from snakesteer.vectors.corruption import corrupt

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Two solutions of one problem.

    Attributes:
        id: The problem's id.
        question: The question.
        positive: A right solution.
        negative: A wrong solution.
    """

    id: str
    question: str
    positive: str
    negative: str


def gold_vs_corrupted(problems: Sequence[Problem], seed: int) -> list[Pair]:
    """Pair gold solutions, without calculator marks, with their wrong twins.

    Of a solution that is no more than its number, the number is changed.
    Problems whose solution cannot be corrupted are left out. Every problem has a random stream of
    its own, from ``seed`` and its id: a pair does not depend on which other problems there are.

    Args:
        problems: Problems of the train or validation split.
        seed: Of the corruptions.

    Raises:
        RuntimeError: A wrong twin is not of the shape of its gold solution (a bug).
    """
    if problems and all(map(is_bare, problems)):
        logger.warning(
            "The gold answers are bare numbers, so that the texts of a pair differ in the answer "
            "alone; pairs.kind: model_correct_vs_wrong compares solutions (docs/tasks.md)."
        )
    pairs = []
    for problem in problems:
        negative = corrupt(problem.answer, random.Random(f"{seed}:{problem.id}"))
        if negative is None:
            continue
        pair = Pair(problem.id, problem.question, strip_calculator(problem.answer), negative)
        check_same_shape(pair)
        pairs.append(pair)
    return pairs


def check_same_shape(pair: Pair) -> None:
    """Make sure that a pair differs in the value of digits only.

    Raises:
        RuntimeError: The two texts are equal, or differ in more than the value of digits.
    """
    positive, negative = (re.sub(r"\d", "9", text) for text in (pair.positive, pair.negative))
    if pair.positive == pair.negative or positive != negative:
        raise RuntimeError(
            f"contrast pair {pair.id}: the texts must differ in digits and in nothing else:\n"
            f"{pair.positive}\n---\n{pair.negative}"
        )


def correct_vs_wrong(solutions: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Pair the model's own right and wrong solutions of the same question.

    Each question gives at most one pair, its first right and its first wrong sample, so that easy
    or much-sampled questions weigh no more than others. Empty samples are passed over, and so is a
    question with only right or only wrong samples.

    Args:
        solutions: Samples ``{id, question, text, correct}`` on train questions, in the order drawn.

    Returns:
        Pairs in the order in which their questions first appear.

    Raises:
        ValueError: Samples of one id have different questions.
    """
    questions: dict[str, str] = {}
    first: dict[tuple[str, bool], str] = {}
    for row in solutions:
        if questions.setdefault(row["id"], row["question"]) != row["question"]:
            raise ValueError(f"samples of {row['id']} have different questions")
        text = row["text"].strip()
        if text:
            first.setdefault((row["id"], bool(row["correct"])), text)
    return [
        Pair(id_, question, first[id_, True], first[id_, False])
        for id_, question in questions.items()
        if (id_, True) in first and (id_, False) in first and first[id_, True] != first[id_, False]
    ]


def check_enough(pairs: Sequence[Pair], minimum: int, split: str) -> None:
    """Refuse to estimate a direction from too few pairs.

    Args:
        pairs: The pairs of one split.
        minimum: ``pairs.min_pairs``.
        split: ``train`` or ``val``: the key of its size in the ``data`` section.

    Raises:
        UserError: There are fewer than ``minimum``.
    """
    if len(pairs) < minimum:
        raise UserError(
            f"The {split} split gives {len(pairs)} contrast pairs, fewer than pairs.min_pairs = "
            f"{minimum}",
            f"Raise data.{split} or lower pairs.min_pairs; with pairs.kind model_correct_vs_wrong, "
            "where only questions that the model answers both rightly and wrongly make a pair, "
            "raise pairs.samples or pairs.temperature, or take pairs.kind gold_vs_corrupted.",
        )


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write pairs, one JSON object ``{id, question, positive, negative}`` a line, atomically."""
    write_jsonl(path, (asdict(pair) for pair in pairs))


def read_pairs(path: str | Path) -> list[Pair]:
    """Read pairs as written by `write_pairs`.

    Raises:
        UserError: The file is missing or damaged, or a line is not a pair (names the line).
    """
    names = [field.name for field in fields(Pair)]
    pairs = []
    for line, row in enumerate(read_jsonl(path), start=1):
        bad = [name for name in names if not isinstance(row.get(name), str) or not row[name]]
        if bad or len(row) != len(names):
            raise UserError(
                f"{path}, line {line}: not a contrast pair with the non-empty texts "
                f"{', '.join(names)}" + (f" ({bad[0]!r} is missing or not a text)" if bad else ""),
                "Delete the file and run snakemake again.",
            )
        pairs.append(Pair(**row))
    return pairs
