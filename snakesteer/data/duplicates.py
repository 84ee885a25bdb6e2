"""Which problems are the same problem: word for word, with other numbers, or with other names too.

Two questions are *exact duplicates* when they agree after `normalise`, and *near duplicates* when
they still agree after every number is masked (`mask_numbers`) or, where that is asked for, after
numbers and names are masked (`mask_names`). A data set may say itself which problems are
variations of one: those are a *group* (``data.group_field``). What no mask sees is a paraphrase, a
translation, other things than before, or another order.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from snakesteer.config.model import NearDuplicates
from snakesteer.data.problem import Problem
from snakesteer.errors import UserError
from snakesteer.records.files import sha256_text

Splits = Mapping[str, Sequence[Problem]]

_PUNCTUATION = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d+(?: \d+)*")
_WORD = re.compile(r"[^\W_]+")
_NUMBER_WORD = re.compile(
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundred|thousand|million|"
    "(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|half|"
    "halves|thirds?|quarters?|fourths?|fifths?|sixths?|eighths?|tenths?"
)
_TIMES = {"once", "twice", "thrice", "double", "triple"}
_PRONOUNS = {
    "he",
    "she",
    "him",
    "her",
    "his",
    "hers",
    "himself",
    "herself",
    "they",
    "them",
    "their",
}


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


def mask_names(question: str) -> str:
    """Replace numbers, also those in words, by ``0``, and names by ``N``.

    A name is every word with a capital first letter, at the beginning of a sentence, too: there it
    may be none (``There``), but one in the same place of two questions that agree otherwise. With
    another name there may come another pronoun: ``P``. Where most words have a capital (German, or
    a text in capitals), these tell nothing, and numbers alone are masked.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", question))
    if 2 * sum(word[0].isupper() for word in words) > len(words):
        return mask_numbers(normalise(question))
    masked: list[str] = []
    for word in words:
        mask = _mask(word)
        last = masked[-1] if masked else ""
        # One number or name in several words; and the s of "Tom's", which "James'" has not.
        if (mask in "0N" and mask == last) or (mask == "s" and last == "N"):
            continue
        masked.append(mask)
    return " ".join(masked)


def _mask(word: str) -> str:
    folded = word.casefold()
    if word[0].isdigit() or _NUMBER_WORD.fullmatch(folded):
        return "0"
    if folded in _TIMES:
        return "0 times"
    if word[0].isupper():
        return "N"
    return "P" if folded in _PRONOUNS else folded


def exact_key(problem: Problem) -> str:
    """SHA-256 of the normalised question; equal for exact duplicates."""
    return sha256_text(normalise(problem.question))


def near_keys(problem: Problem, near: NearDuplicates) -> list[str]:
    """SHA-256 of the masked questions; near duplicates have one in common, as exact ones have.

    Args:
        problem: The problem.
        near: What near duplicates may differ in: ``numbers``, or ``names`` as well.
    """
    masked = [mask_numbers(normalise(problem.question))]
    if near == "names":
        masked.append(f"names: {mask_names(problem.question)}")
    return [sha256_text(text) for text in masked]


def group_key(problem: Problem) -> str | None:
    """SHA-256 of the group that the source says the problem is of, if it says one."""
    return None if problem.group is None else sha256_text(f"group: {problem.group}")


def keys(problem: Problem, near: NearDuplicates) -> list[str]:
    """Near keys and the group's; problems that have one in common never stand in two splits."""
    group = group_key(problem)
    return near_keys(problem, near) + ([] if group is None else [group])


def families(problems: Iterable[Problem], near: NearDuplicates) -> list[list[Problem]]:
    """Problems that are near duplicates or of one group, in source order.

    A problem joins the first family that it shares a key with.
    """
    return _gathered((problem, keys(problem, near)) for problem in problems)


def duplicate_groups(problems: Iterable[Problem], near: NearDuplicates) -> list[list[str]]:
    """The ids of near duplicates, grouped, in source order; without groups of one."""
    found = _gathered((problem, near_keys(problem, near)) for problem in problems)
    return [[problem.id for problem in family] for family in found if len(family) > 1]


def _gathered(keyed: Iterable[tuple[Problem, list[str]]]) -> list[list[Problem]]:
    found: list[list[Problem]] = []
    at: dict[str, int] = {}
    for problem, its in keyed:
        place = next((at[key] for key in its if key in at), len(found))
        if place == len(found):
            found.append([])
        found[place].append(problem)
        for key in its:
            at.setdefault(key, place)
    return found


def overlaps(splits: Splits, near: NearDuplicates) -> dict[str, dict[str, int]]:
    """For each pair of splits, how many problems of the first have a duplicate in the second.

    Args:
        splits: The splits by name.
        near: What near duplicates may differ in.

    Returns:
        For example ``{"train/val": {"exact": 0, "near": 0}, …}``; with ``group``, problems of the
        first whose group is in the second, where the source says groups.
    """
    kinds = {
        "exact": lambda problem: [exact_key(problem)],
        "near": lambda problem: near_keys(problem, near),
    }
    if any(problem.group is not None for split in splits.values() for problem in split):
        kinds["group"] = lambda problem: [key for key in [group_key(problem)] if key]
    has = {
        kind: {name: [set(of(problem)) for problem in split] for name, split in splits.items()}
        for kind, of in kinds.items()
    }
    return {
        f"{one}/{other}": {
            kind: _count_shared(keyed[one], keyed[other]) for kind, keyed in has.items()
        }
        for one, other in itertools.combinations(splits, 2)
    }


def _count_shared(one: list[set[str]], other: list[set[str]]) -> int:
    there = set().union(*other)
    return sum(not keys.isdisjoint(there) for keys in one)


def check_disjoint(splits: Splits, near: NearDuplicates = "numbers") -> None:
    """Refuse splits that share a question, or a group of questions.

    Args:
        splits: The splits by name.
        near: What near duplicates may differ in.

    Raises:
        UserError: Two splits have an exact or near duplicate or a group in common.
    """
    remedy = "Delete the splits and run snakemake again; do not edit them by hand."
    for pair, shared in overlaps(splits, near).items():
        if shared["near"]:  # every exact duplicate is a near one
            raise UserError(
                f"The splits {pair} share {shared['near']} questions ({shared['exact']} word for "
                f"word, the others up to their {near})",
                remedy,
            )
        if shared.get("group"):
            raise UserError(
                f"The splits {pair} share groups of data.group_field ({shared['group']} problems)",
                remedy,
            )
