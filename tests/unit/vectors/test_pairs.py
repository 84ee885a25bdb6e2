from typing import get_args

import pytest

from snakesteer.config import PairKind
from snakesteer.data.gold import parse_gold
from snakesteer.data.problem import Problem
from snakesteer.errors import UserError
from snakesteer.vectors.pairs import (
    Pair,
    check_enough,
    check_same_shape,
    correct_vs_wrong,
    gold_vs_corrupted,
    gold_vs_own_wrong,
    make_pairs,
    own_right_vs_wrong,
    prompt_contrast,
    read_pairs,
    write_pairs,
)


def problem(number: int) -> Problem:
    total = 12 * number
    answer = (
        f"A box has 3*4 = <<3*4=12>>12 pens.\n"
        f"{number} boxes have {number}*12 = <<{number}*12={total}>>{total} pens.\n#### {total}"
    )
    return Problem(f"p-{number}", f"How many pens do {number} boxes have?", answer, str(total))


PROBLEMS = [problem(number) for number in range(2, 40)]


def test_gold_pairs_have_no_marks_and_one_shape():
    pairs = gold_vs_corrupted(PROBLEMS, seed=0)
    assert len(pairs) == len(PROBLEMS)
    for source, pair in zip(PROBLEMS, pairs, strict=True):
        assert (pair.id, pair.question) == (source.id, source.question)
        [positive], [negative] = pair.positive, pair.negative
        assert positive.endswith(f"#### {source.gold}")
        assert not negative.endswith(f"#### {source.gold}")
        assert "<<" not in positive + negative
        check_same_shape(pair)


def test_bare_numbers_make_pairs_of_numbers_and_a_warning(caplog):
    golds = ["7", "0", "-12", "2.5", "1080"]
    bare = [Problem(f"b-{gold}", "How many?", f"#### {gold}", gold) for gold in golds]
    pairs = gold_vs_corrupted(bare, seed=0)
    assert [pair.positive for pair in pairs] == [(f"#### {gold}",) for gold in golds]
    for pair in pairs:
        check_same_shape(pair)
        assert parse_gold(pair.negative[0]) != parse_gold(pair.positive[0])
    assert caplog.text.count("bare numbers") == 1
    caplog.clear()
    gold_vs_corrupted([*bare, PROBLEMS[0]], seed=0)
    assert not caplog.records


def test_a_pair_depends_on_seed_and_id_only():
    pairs = gold_vs_corrupted(PROBLEMS, seed=0)
    assert gold_vs_corrupted(PROBLEMS[::-2], seed=0) == pairs[::-2]
    assert gold_vs_corrupted(PROBLEMS, seed=1) != pairs


def test_problems_that_cannot_be_corrupted_are_left_out():
    empty = Problem("none", "?", "No idea.", "0")
    assert gold_vs_corrupted([empty, PROBLEMS[0]], 0) == gold_vs_corrupted(PROBLEMS[:1], 0)


@pytest.mark.parametrize("negative", ["1 + 2 = 3", "1 + 2 = 14", "1 + 2 = 4 ", "1 + 2 : 4"])
def test_a_pair_of_another_shape_is_refused(negative):
    with pytest.raises(RuntimeError, match="p-7"):
        check_same_shape(Pair("p-7", "?", ("1 + 2 = 3",), (negative,)))


def test_a_wrong_twin_of_another_shape_is_refused(monkeypatch):
    monkeypatch.setattr("snakesteer.vectors.pairs.corrupt", lambda answer, rng: "19.0")
    with pytest.raises(RuntimeError, match="p-2"):
        gold_vs_corrupted(PROBLEMS[:1], 0)


def sample(id_: str, text: str, correct: bool, question: str = "?") -> dict:
    return {"id": id_, "question": f"{question}{id_}", "text": text, "correct": correct}


SOLUTIONS = [
    sample("b", " first wrong\n", False),
    sample("a", "only right", True),
    sample("b", "", True),
    sample("c", "right c", True),
    sample("b", "second wrong", False),
    sample("b", "first right", True),
    sample("b", "second right", True),
    sample("c", "wrong c", False),
    sample("d", "only wrong", False),
    sample("e", "  ", True),
    sample("e", "wrong e", False),
    sample("c", "right c", True),
]


def test_own_solutions_pair_first_right_with_first_wrong_of_a_question():
    assert correct_vs_wrong(SOLUTIONS) == [
        Pair("b", "?b", ("first right",), ("first wrong",)),
        Pair("c", "?c", ("right c",), ("wrong c",)),
    ]


def test_all_right_samples_of_a_question_stand_against_all_its_wrong_ones():
    assert own_right_vs_wrong(SOLUTIONS) == [
        Pair("b", "?b", ("first right", "second right"), ("first wrong", "second wrong")),
        Pair("c", "?c", ("right c", "right c"), ("wrong c",)),
    ]


def test_gold_solutions_stand_against_the_models_own_wrong_ones():
    asked = [
        Problem(id_, f"?{id_}", f"{id_} has <<1+1=2>>2\n#### 2", "2")
        for id_ in ("c", "b", "a", "z")
    ]
    assert gold_vs_own_wrong(asked, SOLUTIONS) == [
        Pair("c", "?c", ("c has 2\n#### 2",), ("wrong c",)),
        Pair("b", "?b", ("b has 2\n#### 2",), ("first wrong", "second wrong")),
    ]


def test_two_instructions_are_set_before_every_question():
    assert prompt_contrast(PROBLEMS[:2], ("Think.", "Guess.")) == [
        Pair(p.id, p.question, ("Think.",), ("Guess.",)) for p in PROBLEMS[:2]
    ]


@pytest.mark.parametrize("kind", get_args(PairKind))
def test_every_kind_makes_pairs_that_survive_a_file(tmp_path, kind):
    solutions = [
        sample(p.id, text, right) | {"question": p.question}
        for p in PROBLEMS
        for text, right in (("x 1", True), ("y 2", False), ("y 3", False))
    ]
    pairs = make_pairs(kind, PROBLEMS, solutions, ("Think.", "Guess."), seed=0)
    assert [pair.id for pair in pairs] == [p.id for p in PROBLEMS]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


def test_equal_texts_are_no_pair():
    assert correct_vs_wrong([sample("a", "same", True), sample("a", "same ", False)]) == []


def test_one_id_with_two_questions_is_refused():
    with pytest.raises(ValueError, match="samples of a"):
        correct_vs_wrong([sample("a", "x", True), sample("a", "y", False, question="!")])


def test_too_few_pairs_name_the_key_and_the_remedy():
    pairs = gold_vs_corrupted(PROBLEMS[:3], 0)
    check_enough(pairs, 3, "val")
    with pytest.raises(UserError, match=r"val split gives 3 .*pairs\.min_pairs = 4.*data\.val"):
        check_enough(pairs, 4, "val")


def test_pairs_survive_a_file(tmp_path):
    pairs = [*gold_vs_corrupted(PROBLEMS, 0), Pair("ü", "“q”\u2028?", ("a\nb", "d"), ("c",))]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


GOOD = '{"id": "a", "question": "?", "positive": ["1"], "negative": ["2", "3"]}'


@pytest.mark.parametrize(
    "row",
    [
        '{"id": "a", "question": "?", "positive": ["1"]}',
        '{"id": "a", "question": "", "positive": ["1"], "negative": ["2"]}',
        '{"id": "a", "question": "?", "positive": ["1"], "negative": "2"}',
        '{"id": "a", "question": "?", "positive": ["1"], "negative": [2]}',
        '{"id": "a", "question": "?", "positive": ["1"], "negative": [""]}',
        '{"id": "a", "question": "?", "positive": [], "negative": ["2"]}',
        '{"id": "a", "question": "?", "positive": ["1"], "negative": ["2"], "more": "3"}',
        "[1]",
        "{",
    ],
)
def test_damaged_files_name_file_and_line(tmp_path, row):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{GOOD}\n{row}\n")
    with pytest.raises(UserError, match=r"pairs\.jsonl, line 2"):
        read_pairs(path)
