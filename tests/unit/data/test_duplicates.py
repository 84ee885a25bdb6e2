import hashlib
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.data.duplicates import (
    check_disjoint,
    duplicate_groups,
    exact_key,
    families,
    mask_names,
    mask_numbers,
    near_keys,
    normalise,
    overlaps,
)
from snakesteer.data.problem import Problem
from snakesteer.errors import UserError

WORDS = ("apple", "berry", "citron", "date", "elder", "fig", "grape", "hazel", "iris", "kiwi")


def problem(name: str, question: str) -> Problem:
    return Problem(name, question, "#### 1", "1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How many  pens?", "how many pens"),
        ("Tom's pen – 5!", "TOM’S PEN - 5"),
        ("ﬁve ２ Straße", "five 2 STRASSE"),
        ("a\n\tb", "a b"),
    ],
)
def test_exact_duplicates_differ_in_form_only(one, other):
    assert normalise(one) == normalise(other)
    assert exact_key(problem("a", one)) == exact_key(problem("b", other))


def test_normal_form_and_hash_are_fixed():
    text = "tom s 1 080 pens cost 3 5 each"
    question = "Tom's 1,080 pens cost $3.5 each?"
    assert normalise(question) == text
    assert mask_numbers(text) == "tom s 0 pens cost 0 each"
    assert exact_key(problem("a", question)) == hashlib.sha256(text.encode()).hexdigest()


def near_key_of(each: Problem) -> str:
    [key] = near_keys(each, "numbers")
    return key


def test_near_duplicates_differ_in_numbers_too():
    one, other = problem("a", "Tom has 1,080.50 pens."), problem("b", "Tom has 7 pens")
    assert exact_key(one) != exact_key(other)
    assert near_key_of(one) == near_key_of(other)
    assert near_key_of(one) != near_key_of(problem("c", "Tom has 7 books"))
    assert near_key_of(one) != near_key_of(problem("d", "Tom has some pens"))


@given(st.text(), st.text())
def test_exact_duplicates_are_near_duplicates(one, other):
    assert normalise(normalise(one)) == normalise(one)
    if normalise(one) == normalise(other):
        assert near_key_of(problem("a", one)) == near_key_of(problem("b", other))


def test_overlaps_are_counted_and_refused():
    one = [problem("a", "Tom has 3 pens."), problem("b", "Eva has 3 pens.")]
    other = [problem("c", "TOM has 3 pens"), problem("d", "Eva has 4 pens.")]
    third = [problem("e", "Ben has 3 pens.")]
    splits = {"train": one, "val": other, "test": third}
    assert overlaps(splits, "numbers") == {
        "train/val": {"exact": 1, "near": 2},
        "train/test": {"exact": 0, "near": 0},
        "val/test": {"exact": 0, "near": 0},
    }
    with pytest.raises(UserError, match=r"train/val share 2 questions \(1 word for word"):
        check_disjoint(splits)
    check_disjoint({"train": one, "test": third})


def test_duplicate_groups_are_listed_in_source_order():
    problems = [
        problem("a", "Tom has 3 pens."),
        problem("b", "Eva has 3 pens."),
        problem("c", "Tom has 4 pens."),
    ]
    assert duplicate_groups(problems, "numbers") == [["a", "c"]]
    assert duplicate_groups(problems, "names") == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("question", "masked"),
    [
        ("Tom has 3 pens.", "N has 0 pens"),
        ("There are three pens on Tom Smith's desk.", "N are 0 pens on N desk"),
        ("James' house is 1,080.50 feet tall", "N house is 0 feet tall"),
        ("How old will she be, and her sister?", "N old will P be and P sister"),
        ("In the U.S., twice as many pens were sold", "N the N 0 times as many pens were sold"),
        ("a twenty-five cent coin", "a 0 cent coin"),
        # Capitals that tell nothing: all words have them, or all nouns.
        ("TOM HAS 3 PENS", "tom has 0 pens"),
        ("Tom hat 3 Äpfel, Ute zwei Birnen", "tom hat 0 äpfel ute zwei birnen"),
        ("小明有３支笔", "小明有3支笔"),
        ("", ""),
    ],
)
def test_names_are_masked(question, masked):
    assert mask_names(question) == masked


# Pairs of which one is the other with changed names and numbers: in the manner of GSM-Symbolic.
SAME = [
    ("Ann has 5 pens. How many has she?", "Bob Lee has 12 pens. How many has he?"),
    (
        "Tom's sister is four times as old as Lennon. How old is she in Paris?",
        "James' sister is 7 times as old as Mary Ann. How old is he in New York?",
    ),
    (
        "In two years, Ophelia will be half as old. How old is Lennon?",
        "In 5 years Raven will be three quarters as old. How old is Phoebe?",
    ),
    (
        "On Monday Mia sold 3 cakes, twice as many as he.",
        "On Friday Al sold 9 cakes, 3 times as many as she.",
    ),
    ("TOM has 3 pens and a book", "Tom has 4 pens and a book"),
]
OTHER = [
    ("Ann has 5 pens. How many has she?", "Ann has 5 cups. How many has she?"),
    ("Ann gives Bob 5 pens.", "Ann takes 5 pens."),
    ("Ann has 5 pens and 3 cups.", "Ann has 5 pens."),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_other_names_and_numbers(one, other):
    pair = {"train": [problem("a", one)], "test": [problem("b", other)]}
    assert overlaps(pair, "names")["train/test"]["near"] == 1
    with pytest.raises(UserError, match="share 1 questions"):
        check_disjoint(pair, "names")


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_questions(one, other):
    pair = {"train": [problem("a", one)], "test": [problem("b", other)]}
    assert overlaps(pair, "names")["train/test"]["near"] == 0


def test_groups_are_counted_where_there_are_some():
    one, other = (problem("a", "Ann has pens"), "7"), (problem("b", "Bob owns cups"), "7")
    pair = {
        name: [replace(each, group=g)] for name, (each, g) in zip("xy", (one, other), strict=True)
    }
    assert overlaps(pair, "names") == {"x/y": {"exact": 0, "near": 0, "group": 1}}
    with pytest.raises(UserError, match=r"x/y share groups of data\.group_field"):
        check_disjoint(pair)


def test_families_join_near_duplicates_and_groups():
    each = [
        problem("a", "Ann has 3 pens"),
        replace(problem("b", "Ann has 4 pens"), group="1"),
        problem("c", "Ann has cups"),
        replace(problem("d", "How much is it?"), group="1"),
    ]
    assert [[p.id for p in family] for family in families(each, "numbers")] == [
        ["a", "b", "d"],
        ["c"],
    ]


def test_eight_thousand_questions_take_no_time():
    problems = [
        problem(str(n), f"In year {n} Tom {word} sold pens to Ann, twice as many as he. " * 3)
        for n, word in enumerate(WORDS * 800)
    ]
    began = time.perf_counter()
    assert len(families(problems, "names")) == len(WORDS)
    assert time.perf_counter() - began < 10  # 0.4 s
