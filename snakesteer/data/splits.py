"""Train, validation and test splits that share no problem, nor a variation of one.

What counts as the same problem says `snakesteer.data.duplicates`: near duplicates, and groups that
the source names. Train is carved from the source's train part, test from its test part, and
validation from either. Of a family of such problems in a part that two splits are carved from, only
one is used, so no family can cross from one to the other. The test part
adapts to the train part, never the other way round: what duplicates a train or validation problem
there is left out. So a source may have one part that is both: what train and validation took from
it is left out of the test split.

Problems are drawn by rank: sorted by a hash of seed and id. So a draw depends on nothing but these
(not on the Python version, nor on the sizes of other splits), and a larger split contains the
smaller one of the same seed. With one part for all splits, the test split depends on what the
others took.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from snakesteer.config.model import NearDuplicates
from snakesteer.data.duplicates import (
    Splits,
    check_disjoint,
    duplicate_groups,
    exact_key,
    families,
    group_key,
    keys,
    overlaps,
)
from snakesteer.data.problem import Problem
from snakesteer.errors import UserError
from snakesteer.records.files import sha256_text


def carve_train_val(
    problems: Sequence[Problem],
    train: int,
    val: int,
    seed: int,
    near: NearDuplicates = "numbers",
) -> tuple[list[Problem], list[Problem]]:
    """Draw train and validation from the source's train part.

    Train is taken from the front of the ranking and validation from its back, so the size of one
    does not change the other.

    Args:
        problems: The train part, in source order.
        train: Number of train problems.
        val: Number of validation problems; 0 where they come from the test part.
        seed: Draws the ranking.
        near: What near duplicates may differ in.

    Raises:
        UserError: There are fewer than ``train + val`` problems without near duplicates.
    """
    ranked = _ranked(_one_of_families(problems, seed, near), seed)
    repeated = len(problems) - len(ranked)
    what = (
        "near duplicates" if not _has_groups(problems) else "near duplicates or others of a group"
    )
    without = f", not counting {repeated} {what}" if repeated else ""
    _check_sizes({"data.train": train, "data.val": val}, "train", len(ranked), without, near)
    return ranked[:train], ranked[::-1][:val]


def carve_val_test(
    problems: Sequence[Problem],
    val: int,
    test: int,
    seed: int,
    train: Sequence[Problem],
    near: NearDuplicates = "numbers",
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
        near: What near duplicates may differ in.

    Returns:
        The validation split; the test split in source order; and the ids of all problems of the
        test part that are left out because they are of one family with a train problem or an
        earlier problem of the test part.

    Raises:
        UserError: There are fewer than ``val + test`` problems without duplicates.
    """
    eligible = _without(_one_of_families(problems, seed, near), train, near)
    kept = {problem.id for problem in eligible}
    left_out = [problem.id for problem in problems if problem.id not in kept]
    without = f", not counting {len(left_out)} that duplicate others or train problems"
    sizes = {"data.val": val, "data.test": test}
    _check_sizes(sizes, "test", len(eligible), without if left_out else "", near)
    ranked = _ranked(eligible, seed)
    drawn = {problem.id for problem in ranked[:test]}
    return ranked[::-1][:val], [p for p in eligible if p.id in drawn], left_out


def carve_test(
    problems: Sequence[Problem],
    test: int,
    seed: int,
    train: Sequence[Problem],
    val: Sequence[Problem],
    near: NearDuplicates = "numbers",
) -> tuple[list[Problem], list[str]]:
    """Draw the test split from the source's test part, where validation is of the train part.

    Of groups that the source names, one problem each is drawn before a second of any, since
    statistics take problems for independent.

    Args:
        problems: The test part, in source order.
        test: Number of test problems.
        seed: Draws them.
        train: The train split.
        val: The validation split.
        near: What near duplicates may differ in.

    Returns:
        The test split in source order, and the ids of all problems of the test part that are left
        out because they are of one family with one of ``train`` or ``val``.

    Raises:
        UserError: There are fewer than ``test`` problems.
    """
    eligible = _without(problems, [*train, *val], near)
    kept = {problem.id for problem in eligible}
    left_out = [problem.id for problem in problems if problem.id not in kept]
    without = f", not counting {len(left_out)} that duplicate train or validation problems"
    _check_sizes({"data.test": test}, "test", len(eligible), without if left_out else "", near)
    drawn = {problem.id for problem in _one_of_each_group_first(_ranked(eligible, seed))[:test]}
    return [problem for problem in eligible if problem.id in drawn], left_out


def splits_manifest(
    splits: Splits,
    sources: Splits,
    left_out: Sequence[str],
    file_sha256: Mapping[str, str],
    near: NearDuplicates = "numbers",
) -> dict[str, Any]:
    """Describe splits so that their contents and their separation can be checked later.

    Args:
        splits: The splits by name.
        sources: The source's parts by name, searched for duplicates within themselves.
        left_out: Last result of `carve_test` or `carve_val_test`.
        file_sha256: SHA-256 of each split's file, by the same names as ``splits``.
        near: What near duplicates may differ in.

    Returns:
        A JSON document: per split its size, file hash, ids and hashes of questions and, where the
        source names some, groups (in the order of the ids); overlap counts of each pair; test
        problems left out; near duplicates in the sources.

    Raises:
        UserError: Two splits have an exact or near duplicate or a group in common.
    """
    check_disjoint(splits, near)
    return {
        "near_duplicates": near,
        "splits": {
            name: {
                "size": len(split),
                "file_sha256": file_sha256[name],
                "ids": [problem.id for problem in split],
                "question_sha256": [exact_key(problem) for problem in split],
                **({"group_sha256": [*map(group_key, split)]} if _has_groups(split) else {}),
            }
            for name, split in splits.items()
        },
        "overlaps": overlaps(splits, near),
        "left_out_of_test": {"count": len(left_out), "ids": list(left_out)},
        "near_duplicates_in_sources": {
            name: duplicate_groups(problems, near) for name, problems in sources.items()
        },
    }


def _check_sizes(
    sizes: Mapping[str, int], part: str, there: int, without: str, near: NearDuplicates
) -> None:
    """Refuse splits that a part of the source is too small for.

    Args:
        sizes: Problems asked for, by config key; 0 is not told.
        part: Of the source.
        there: Problems in it that may be drawn.
        without: What is not counted, in words.
        near: What near duplicates may differ in.

    Raises:
        UserError: More are asked for than there are.
    """
    asked = {key: size for key, size in sizes.items() if size}
    total = sum(asked.values())
    if total > there:
        sum_of = f"{' + '.join(map(str, asked.values()))} = " if len(asked) > 1 else ""
        other_names = (
            " Problems that agree up to numbers and names count once; where they are problems of "
            "their own, set data.near_duplicates: numbers."
            if without and near == "names"
            else ""
        )
        raise UserError(
            f"{' + '.join(asked)} is {sum_of}{total}, but the source's {part} part has {there} "
            f"problems{without}",
            f"Lower {' or '.join(asked)}, or use a larger source.{other_names}",
        )


def _one_of_families(problems: Sequence[Problem], seed: int, near: NearDuplicates) -> list[Problem]:
    """Of problems that are near duplicates or of one group, one; in source order.

    The first, unless the source names groups: of these one by rank, since the members of a group
    may be of kinds that have an order (the eight perturbations of GSM-Plus).
    """
    if not _has_groups(problems):
        return [family[0] for family in families(problems, near)]
    chosen = {family[0].id for family in families(_ranked(problems, seed), near)}
    return [problem for problem in problems if problem.id in chosen]


def _without(
    problems: Sequence[Problem], taken: Sequence[Problem], near: NearDuplicates
) -> list[Problem]:
    """The problems that are of one family with none of those that are taken."""
    keyed = {key for problem in taken for key in keys(problem, near)}
    return [problem for problem in problems if keyed.isdisjoint(keys(problem, near))]


def _has_groups(problems: Iterable[Problem]) -> bool:
    return any(problem.group is not None for problem in problems)


def _one_of_each_group_first(ranked: Sequence[Problem]) -> list[Problem]:
    """The first problem of every group, then the second of every one; else in their order."""
    seen: Counter[str] = Counter()
    turns = []
    for problem in ranked:
        group = problem.group if problem.group is not None else problem.id
        turns.append(seen[group])
        seen[group] += 1
    order = sorted(range(len(ranked)), key=turns.__getitem__)
    return [ranked[place] for place in order]


def _ranked(problems: Iterable[Problem], seed: int) -> list[Problem]:
    return sorted(problems, key=lambda problem: sha256_text(f"{seed}/{problem.id}"))
