"""Train, validation and test splits that share no problem, not even with other numbers in it.

Two questions are *exact duplicates* when they agree after `normalise`, and *near duplicates* when
they still agree after every number is masked (`mask_numbers`); every exact duplicate is a near one.
Train is carved from the source's train part, test from its test part, and validation from either.
Of a group of near duplicates in a part that two splits are carved from, only the first in source
order is used, so no group can cross from one to the other. The test part adapts to the train part,
never the other way round: what duplicates a train or validation problem there is left out.

Problems are drawn by rank: sorted by a hash of seed and id. So a draw depends on nothing but these
(not on the Python version, nor on the sizes of other splits), and a larger split contains the
smaller one of the same seed.
"""

import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from snakesteer.data.problem import Problem
from snakesteer.errors import UserError
from snakesteer.records.files import sha256_text

Splits = Mapping[str, Sequence[Problem]]

_PUNCTUATION = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d+(?: \d+)*")


def normalise(question: str) -> str:
    """Fold Unicode forms (NFKC), case, punctuation and white space: words between single spaces."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    return _PUNCTUATION.sub(" ", folded).strip()


def mask_numbers(normalised: str) -> str:
    """Replace every number of a normalised question by ``0``.

    Digits between single spaces count as one number, since ``1,080`` and ``3.5`` were folded to
    ``1 080`` and ``3 5``.
    """
    return _NUMBER.sub("0", normalised)


def exact_key(problem: Problem) -> str:
    """SHA-256 of the normalised question; equal for exact duplicates."""
    return sha256_text(normalise(problem.question))


def near_key(problem: Problem) -> str:
    """SHA-256 of the normalised question with its numbers masked; equal for near duplicates."""
    return sha256_text(mask_numbers(normalise(problem.question)))


def carve_train_val(
    problems: Sequence[Problem], train: int, val: int, seed: int
) -> tuple[list[Problem], list[Problem]]:
    """Draw train and validation from the source's train part.

    Train is taken from the front of the ranking and validation from its back, so the size of one
    does not change the other.

    Args:
        problems: The train part, in source order.
        train: Number of train problems.
        val: Number of validation problems; 0 where they come from the test part.
        seed: Draws the ranking.

    Raises:
        UserError: There are fewer than ``train + val`` problems without near duplicates.
    """
    ranked = _ranked(_first_of_groups(problems), seed)
    repeated = len(problems) - len(ranked)
    without = f", not counting {repeated} near duplicates" if repeated else ""
    _check_sizes({"data.train": train, "data.val": val}, "train", len(ranked), without)
    return ranked[:train], ranked[::-1][:val]


def carve_val_test(
    problems: Sequence[Problem], val: int, test: int, seed: int, train: Sequence[Problem]
) -> tuple[list[Problem], list[Problem], list[str]]:
    """Draw validation and test, both from the source's test part.

    Test is taken from the front of the ranking and validation from its back, so the size of one
    does not change the other, and neither depends on what the problems of the other say.

    Args:
        problems: The test part, in source order.
        val: Number of validation problems.
        test: Number of test problems.
        seed: Draws the ranking.
        train: The train split.

    Returns:
        The validation split; the test split in source order; and the ids of all problems of the
        test part that are left out because they duplicate (exactly or nearly) a train problem or
        an earlier problem of the test part.

    Raises:
        UserError: There are fewer than ``val + test`` problems without duplicates.
    """
    taken = {near_key(problem) for problem in train}
    eligible = [problem for problem in _first_of_groups(problems) if near_key(problem) not in taken]
    kept = {problem.id for problem in eligible}
    left_out = [problem.id for problem in problems if problem.id not in kept]
    without = f", not counting {len(left_out)} that duplicate others or train problems"
    sizes = {"data.val": val, "data.test": test}
    _check_sizes(sizes, "test", len(eligible), without if left_out else "")
    ranked = _ranked(eligible, seed)
    drawn = {problem.id for problem in ranked[:test]}
    return ranked[::-1][:val], [p for p in eligible if p.id in drawn], left_out


def carve_test(
    problems: Sequence[Problem],
    test: int,
    seed: int,
    train: Sequence[Problem],
    val: Sequence[Problem],
) -> tuple[list[Problem], list[str]]:
    """Draw the test split from the source's test part, where validation is of the train part.

    Args:
        problems: The test part, in source order.
        test: Number of test problems.
        seed: Draws them.
        train: The train split.
        val: The validation split.

    Returns:
        The test split in source order, and the ids of all problems of the test part that are left
        out because they duplicate (exactly or nearly) one of ``train`` or ``val``.

    Raises:
        UserError: There are fewer than ``test`` problems.
    """
    taken = {near_key(problem) for problem in (*train, *val)}
    eligible = [problem for problem in problems if near_key(problem) not in taken]
    left_out = [problem.id for problem in problems if near_key(problem) in taken]
    without = f", not counting {len(left_out)} that duplicate train or validation problems"
    _check_sizes({"data.test": test}, "test", len(eligible), without if left_out else "")
    drawn = {problem.id for problem in _ranked(eligible, seed)[:test]}
    return [problem for problem in eligible if problem.id in drawn], left_out


def overlaps(splits: Splits) -> dict[str, dict[str, int]]:
    """For each pair of splits, the number of duplicate keys they share, exact and near.

    Returns:
        For example ``{"train/val": {"exact": 0, "near": 0}, …}``.
    """
    exact = {name: {exact_key(problem) for problem in split} for name, split in splits.items()}
    near = {name: {near_key(problem) for problem in split} for name, split in splits.items()}
    return {
        f"{one}/{other}": {
            "exact": len(exact[one] & exact[other]),
            "near": len(near[one] & near[other]),
        }
        for one, other in itertools.combinations(splits, 2)
    }


def check_disjoint(splits: Splits) -> None:
    """Refuse splits that share a question.

    Raises:
        UserError: Two splits have an exact or near duplicate in common.
    """
    for pair, shared in overlaps(splits).items():
        if shared["near"]:  # every exact duplicate is a near one
            raise UserError(
                f"The splits {pair} share {shared['near']} questions ({shared['exact']} word for "
                "word, the others up to their numbers)",
                "Delete the splits and run snakemake again; do not edit them by hand.",
            )


def duplicate_groups(problems: Iterable[Problem]) -> list[list[str]]:
    """The ids of near duplicates, grouped, in source order; without groups of one."""
    groups = defaultdict(list)
    for problem in problems:
        groups[near_key(problem)].append(problem.id)
    return [ids for ids in groups.values() if len(ids) > 1]


def splits_manifest(
    splits: Splits,
    sources: Splits,
    left_out: Sequence[str],
    file_sha256: Mapping[str, str],
) -> dict[str, Any]:
    """Describe splits so that their contents and their separation can be checked later.

    Args:
        splits: The splits by name.
        sources: The source's parts by name, searched for duplicates within themselves.
        left_out: Last result of `carve_test` or `carve_val_test`.
        file_sha256: SHA-256 of each split's file, by the same names as ``splits``.

    Returns:
        A JSON document: per split its size, file hash, ids and question hashes (in the order of the
        ids); overlap counts of each pair; test problems left out; near duplicates in the sources.

    Raises:
        UserError: Two splits have an exact or near duplicate in common.
    """
    check_disjoint(splits)
    return {
        "splits": {
            name: {
                "size": len(split),
                "file_sha256": file_sha256[name],
                "ids": [problem.id for problem in split],
                "question_sha256": [exact_key(problem) for problem in split],
            }
            for name, split in splits.items()
        },
        "overlaps": overlaps(splits),
        "left_out_of_test": {"count": len(left_out), "ids": list(left_out)},
        "near_duplicates_in_sources": {
            name: duplicate_groups(problems) for name, problems in sources.items()
        },
    }


def _check_sizes(sizes: Mapping[str, int], part: str, there: int, without: str) -> None:
    """Refuse splits that a part of the source is too small for.

    Args:
        sizes: Problems asked for, by config key; 0 is not told.
        part: Of the source.
        there: Problems in it that may be drawn.
        without: What is not counted, in words.

    Raises:
        UserError: More are asked for than there are.
    """
    asked = {key: size for key, size in sizes.items() if size}
    total = sum(asked.values())
    if total > there:
        sum_of = f"{' + '.join(map(str, asked.values()))} = " if len(asked) > 1 else ""
        raise UserError(
            f"{' + '.join(asked)} is {sum_of}{total}, but the source's {part} part has {there} "
            f"problems{without}",
            f"Lower {' or '.join(asked)}, or use a larger source.",
        )


def _first_of_groups(problems: Iterable[Problem]) -> list[Problem]:
    """Of every group of near duplicates the first, in source order."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(near_key(problem), problem)
    return list(first.values())


def _ranked(problems: Iterable[Problem], seed: int) -> list[Problem]:
    return sorted(problems, key=lambda problem: sha256_text(f"{seed}/{problem.id}"))
