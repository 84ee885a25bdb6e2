import pytest

from snakesteer.data.problem import Problem, parse_gold
from snakesteer.errors import UserError
from snakesteer.vectors.pairs import (
    Pair,
    check_enough,
    check_same_shape,
    correct_vs_wrong,
    gold_vs_corrupted,
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
        assert pair.positive.endswith(f"#### {source.gold}")
        assert not pair.negative.endswith(f"#### {source.gold}")
        assert "<<" not in pair.positive + pair.negative
        check_same_shape(pair)


def test_bare_numbers_make_pairs_of_numbers_and_a_warning(caplog):
    golds = ["7", "0", "-12", "2.5", "1080"]
    bare = [Problem(f"b-{gold}", "How many?", f"#### {gold}", gold) for gold in golds]
    pairs = gold_vs_corrupted(bare, seed=0)
    assert [pair.positive for pair in pairs] == [f"#### {gold}" for gold in golds]
    for pair in pairs:
        check_same_shape(pair)
        assert parse_gold(pair.negative) != parse_gold(pair.positive)
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
        check_same_shape(Pair("p-7", "?", "1 + 2 = 3", negative))


def test_a_wrong_twin_of_another_shape_is_refused(monkeypatch):
    monkeypatch.setattr("snakesteer.vectors.pairs.corrupt", lambda answer, rng: "19.0")
    with pytest.raises(RuntimeError, match="p-2"):
        gold_vs_corrupted(PROBLEMS[:1], 0)


def sample(id_: str, text: str, correct: bool, question: str = "?") -> dict:
    return {"id": id_, "question": f"{question}{id_}", "text": text, "correct": correct}


def test_own_solutions_pair_first_right_with_first_wrong_of_a_question():
    pairs = correct_vs_wrong(
        [
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
        ]
    )
    assert pairs == [
        Pair("b", "?b", "first right", "first wrong"),
        Pair("c", "?c", "right c", "wrong c"),
    ]


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
    pairs = [*gold_vs_corrupted(PROBLEMS, 0), Pair("ü", "“q”\u2028?", "a\nb", "c")]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


GOOD = '{"id": "a", "question": "?", "positive": "1", "negative": "2"}'


@pytest.mark.parametrize(
    "row",
    [
        '{"id": "a", "question": "?", "positive": "1"}',
        '{"id": "a", "question": "?", "positive": "1", "negative": 2}',
        '{"id": "a", "question": "?", "positive": "1", "negative": ""}',
        '{"id": "a", "question": "?", "positive": "1", "negative": "2", "more": "3"}',
        "[1]",
        "{",
    ],
)
def test_damaged_files_name_file_and_line(tmp_path, row):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{GOOD}\n{row}\n")
    with pytest.raises(UserError, match=r"pairs\.jsonl, line 2"):
        read_pairs(path)
