"""Contrast pairs: what stands for right and what for wrong in the same train problem."""

import logging
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snakesteer.config import PairKind
from snakesteer.data.problem import Problem, is_bare, strip_calculator
from snakesteer.errors import UserError
from snakesteer.records.files import read_jsonl, write_jsonl
from snakesteer.vectors.corruption import corrupt

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Two sides of one problem. Where a side has several texts, their activations are averaged.

    Attributes:
        id: The problem's id.
        question: The question.
        positive: Right solutions; of `prompt_contrast`, the instruction that is wanted.
        negative: Wrong solutions, or the other instruction. Of `thoughts`, both sides are the same
            solutions, of which different thoughts are read.
    """

    id: str
    question: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class OwnSolutions:
    """The model's own solutions of one question, in the order drawn.

    Attributes:
        question: The question.
        right: Right solutions.
        wrong: Wrong ones.
    """

    question: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def make_pairs(
    kind: PairKind,
    problems: Sequence[Problem],
    solutions: Sequence[Mapping[str, Any]],
    prompts: tuple[str, str],
    seed: int,
) -> list[Pair]:
    """The pairs of a kind.

    Args:
        kind: ``pairs.kind``.
        problems: Of the train split without the few-shot examples, or of the validation split.
        solutions: The model's own samples on them, for kinds that need some.
        prompts: ``pairs.prompts``.
        seed: Of the corruptions.
    """
    match kind:
        case "gold_vs_corrupted":
            return gold_vs_corrupted(problems, seed)
        case "model_correct_vs_wrong":
            return correct_vs_wrong(solutions)
        case "own_right_vs_wrong":
            return own_right_vs_wrong(solutions)
        case "gold_vs_own_wrong":
            return gold_vs_own_wrong(problems, solutions)
        case "prompt_contrast":
            return prompt_contrast(problems, prompts)
        case "thoughts":
            return own_thoughts(solutions)


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
            "alone, and pairs.read: before_last_number finds nothing to read; pairs.kind: "
            "own_right_vs_wrong compares solutions (docs/tasks.md)."
        )
    pairs = []
    for problem in problems:
        negative = corrupt(problem.answer, random.Random(f"{seed}:{problem.id}"))
        if negative is None:
            continue
        gold = strip_calculator(problem.answer)
        pair = Pair(problem.id, problem.question, (gold,), (negative,))
        check_same_shape(pair)
        pairs.append(pair)
    return pairs


def check_same_shape(pair: Pair) -> None:
    """Make sure that the two texts of a pair differ in the value of digits only.

    Raises:
        RuntimeError: The two texts are equal, or differ in more than the value of digits.
    """
    (positive,), (negative,) = pair.positive, pair.negative
    if positive == negative or re.sub(r"\d", "9", positive) != re.sub(r"\d", "9", negative):
        raise RuntimeError(
            f"contrast pair {pair.id}: the texts must differ in digits and in nothing else:\n"
            f"{positive}\n---\n{negative}"
        )


def correct_vs_wrong(solutions: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Pair the first right and the first wrong sample of the same question.

    Args:
        solutions: As `samples_of_questions` takes them.

    Returns:
        Pairs in the order in which their questions first appear; questions with only right or only
        wrong samples make none.
    """
    return [
        Pair(id_, found.question, found.right[:1], found.wrong[:1])
        for id_, found in samples_of_questions(solutions).items()
        if found.right and found.wrong and found.right[0] != found.wrong[0]
    ]


def own_right_vs_wrong(solutions: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Set all right samples of a question against all its wrong ones.

    Args:
        solutions: As `samples_of_questions` takes them.

    Returns:
        One pair per question with samples of both kinds, so that easy or much-sampled questions
        weigh no more than others. A text drawn twice counts twice: a side is what the model says.
    """
    return [
        Pair(id_, found.question, found.right, found.wrong)
        for id_, found in samples_of_questions(solutions).items()
        if found.right and found.wrong
    ]


def gold_vs_own_wrong(
    problems: Sequence[Problem], solutions: Sequence[Mapping[str, Any]]
) -> list[Pair]:
    """Set the gold solution of a question against all wrong samples of the model's own.

    Args:
        problems: Problems whose questions were sampled.
        solutions: As `samples_of_questions` takes them.

    Returns:
        One pair per question that the model answered wrongly at least once.
    """
    samples = samples_of_questions(solutions)
    return [
        Pair(p.id, p.question, (strip_calculator(p.answer),), samples[p.id].wrong)
        for p in problems
        if p.id in samples and samples[p.id].wrong
    ]


def prompt_contrast(problems: Sequence[Problem], prompts: tuple[str, str]) -> list[Pair]:
    """Set a question behind one instruction against itself behind another.

    Zhang and Viteri 2024, "Uncovering Latent Chain of Thought Vectors in Language Models" (arXiv
    2409.14026): the difference between asking for step-by-step work and asking for the answer.

    Args:
        problems: Whose questions are asked.
        prompts: The instruction that is wanted, and the one that is not.
    """
    wanted, unwanted = prompts
    return [Pair(p.id, p.question, (wanted,), (unwanted,)) for p in problems]


def own_thoughts(solutions: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Set all samples of a question against themselves: which thoughts are read makes the sides.

    Args:
        solutions: As `samples_of_questions` takes them.
    """
    found = samples_of_questions(solutions)
    sides = {id_: (own.question, own.right + own.wrong) for id_, own in found.items()}
    return [Pair(id_, question, own, own) for id_, (question, own) in sides.items() if own]


def samples_of_questions(solutions: Sequence[Mapping[str, Any]]) -> dict[str, OwnSolutions]:
    """The model's own solutions by the id of their question; empty ones are passed over.

    Args:
        solutions: Samples ``{id, question, text, correct}``, in the order drawn.

    Returns:
        Questions in the order in which they first appear.

    Raises:
        ValueError: Samples of one id have different questions.
    """
    questions: dict[str, str] = {}
    texts: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for row in solutions:
        if questions.setdefault(row["id"], row["question"]) != row["question"]:
            raise ValueError(f"samples of {row['id']} have different questions")
        if text := row["text"].strip():
            texts[row["id"], bool(row["correct"])].append(text)
    return {
        id_: OwnSolutions(question, tuple(texts[id_, True]), tuple(texts[id_, False]))
        for id_, question in questions.items()
    }


def check_enough(pairs: Sequence[Any], minimum: int, split: str) -> None:
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
            f"Raise data.{split} or lower pairs.min_pairs. Of the model's own solutions only "
            "questions that it answers both rightly and wrongly make a pair (for "
            "gold_vs_own_wrong, wrongly): raise pairs.samples or pairs.temperature, or take "
            "pairs.kind gold_vs_corrupted.",
        )


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write pairs, one JSON object ``{id, question, positive, negative}`` a line, atomically."""
    write_jsonl(path, (asdict(pair) for pair in pairs))


def read_pairs(path: str | Path) -> list[Pair]:
    """Read pairs as written by `write_pairs`.

    Raises:
        UserError: The file is missing or damaged, or a line is not a pair (names the line).
    """
    pairs = []
    for line, row in enumerate(read_jsonl(path), start=1):
        bad = [name for name, holds in _PARTS.items() if not holds(row.get(name))]
        if bad or len(row) != len(_PARTS):
            raise UserError(
                f"{path}, line {line}: not a contrast pair with id, question, and the lists of "
                "texts positive and negative"
                + (f" ({bad[0]!r} is missing or something else)" if bad else ""),
                "Delete the file and run snakemake again.",
            )
        pairs.append(
            Pair(row["id"], row["question"], tuple(row["positive"]), tuple(row["negative"]))
        )
    return pairs


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_is_text, value))


_PARTS = {"id": _is_text, "question": _is_text, "positive": _are_texts, "negative": _are_texts}
