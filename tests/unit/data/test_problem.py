import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.data.problem import (
    Problem,
    canonical,
    is_bare,
    parse_gold,
    parse_number,
    problem_from_row,
    read_problems,
    solution_steps,
    strip_calculator,
    write_problems,
)
from snakesteer.errors import UserError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", "18"),
        (" 18. ", "18"),
        ("18.00", "18"),
        ("1,080", "1080"),
        ("12,345,678.5", "12345678.5"),
        ("$18", "18"),
        ("\\$18", "18"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("-$1,080.50", "-1080.5"),
        ("$-5", "-5"),
        (".5", "0.5"),
        ("-0", "0"),
        ("007", "7"),
        ("50%", "50"),
        ("18 dollars", "18"),
        ("18 dollars.", "18"),
        ("9" * 40, "9" * 40),  # exact, not rounded to a float or a decimal context
    ],
)
def test_number_is_read(text, number):
    parsed = parse_number(text)
    assert parsed is not None
    assert canonical(parsed) == number
    assert parsed == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", "dollars", "1/2", "3 or 4", "1,08", "1,0800", "1.2.3", "x5", "--5", "$"]
)
def test_what_is_not_one_number_is_none(text):
    assert parse_number(text) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_canonical_round_trips(number):
    assert parse_number(canonical(number)) == number


@given(st.integers())
def test_thousands_separators_change_nothing(number):
    assert parse_number(f"{number:,}") == number
    assert parse_number(f"${number:,}.00") == number


@given(st.text())
def test_parse_number_never_raises(text):
    parse_number(text)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("4*7 = <<4*7=28>>28 pens.\n#### 28", "28"),
        ("#### 3 in a text\n#### 1,080", "1080"),
        ("####-5", "-5"),
        ("#### $18.00", "18"),
        ("#### 2.50 dollars\n", "2.5"),
    ],
)
def test_gold_is_the_number_after_the_last_mark(answer, gold):
    assert parse_gold(answer) == gold


def test_calculator_marks_are_removed():
    assert strip_calculator("12/60 = $<<12/60=0.2>>0.2, 2*3 = <<2*3=6>>6") == (
        "12/60 = $0.2, 2*3 = 6"
    )
    assert strip_calculator("a << b and c >> d") == "a  d"
    assert strip_calculator("a < b << c") == "a < b << c"


@pytest.mark.parametrize(
    ("solution", "steps"),
    [
        ("He sold 48/2 = <<48/2=24>>24.\nAltogether 48+24 = <<48+24=72>>72.\n#### 72", 2),
        ("Weng earns $12/60 = $<<12/60=0.2>>0.2, so 2*3 = <<2*3=6>>6.\n#### 6", 2),
        # Marks alone are counted where there are some.
        ("x = 4 and 2 = 2\n3*4 = <<3*4=12>>12\n#### 12", 1),
        ("First 48/2 = 24.\nThen (24 + 1) = 25 pens.\nThat is all.\n#### 25", 2),
        ("Let x = the price.\n#### 25", 0),
        ("#### 25", 0),
    ],
)
def test_steps_of_a_solution(solution, steps):
    assert solution_steps(Problem("p", "q", solution, "1")) == steps


def test_row_becomes_a_problem():
    row = {"question": "How many?", "answer": "#### 1,080", "extra": 1}
    assert problem_from_row(row, "x.jsonl", 13, "gsm8k-train", 12) == Problem(
        "gsm8k-train-00012", "How many?", "#### 1,080", "1080"
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "#### 1"}, "'question' is missing"),
        ({"question": "  ", "answer": "#### 1"}, "'question' is missing"),
        ({"question": 5, "answer": "#### 1"}, "'question' is missing"),
        ({"question": "q"}, "'answer' is missing"),
        ({"question": "q", "answer": None}, "'answer' is missing"),
        ({"question": "q", "answer": "It is 5."}, "no #### in the answer"),
        ({"question": "q", "answer": "It is 5.\n####"}, "no number after ####"),
        ({"question": "q", "answer": "#### 5\n#### none"}, "no number after ####"),
        ({"question": "q", "answer": True}, "'answer' is missing, empty or not text or a number"),
        ({"question": "q", "answer": [5]}, "'answer' is missing"),
        ({"question": "q", "answer": float("nan")}, "not a finite number ('nan')"),
        ({"question": "q", "answer": float("inf")}, "not a finite number"),
        ({"question": "q", "answer": "nan"}, "not one number"),
        ({"question": "q", "answer": "1/2"}, "not one number either ('1/2')"),
        ({"question": "q", "answer": "3 or 4"}, "not one number"),
        ({"question": "q", "answer": "1e5"}, "not one number"),
        ({"Body": "q", "answer": 5}, "The row has 'Body', 'answer'"),
    ],
)
def test_bad_row_names_file_line_and_remedy(row, said):
    with pytest.raises(UserError) as caught:
        problem_from_row(row, "some/x.jsonl", 13, "p", 12)
    assert caught.value.problem.startswith("some/x.jsonl, line 13: ")
    assert said in caught.value.problem
    assert "remove the row" in caught.value.remedy


@pytest.mark.parametrize(
    ("value", "gold"),
    [
        (145, "145"),
        (-3, "-3"),
        (0, "0"),
        (8.0, "8"),
        (0.25, "0.25"),
        (10**30, "1" + "0" * 30),
        (1e22, "1" + "0" * 22),
        (1e-7, "0.0000001"),
        ("36", "36"),
        ("-1,080.50", "-1080.5"),
        ("9 (apples)", "9"),
        (" $18. ", "18"),
        ("50%", "50"),
    ],
)
def test_a_bare_number_is_the_whole_solution(value, gold):
    """As SVAMP, ASDiv, MAWPS and MultiArith give them."""
    problem = problem_from_row({"question": "q", "answer": value}, "x", 1, "p", 0)
    assert problem == Problem("p-00000", "q", f"#### {gold}", gold)
    assert is_bare(problem)
    assert parse_gold(problem.answer) == gold
    assert not is_bare(Problem("p", "q", "It is 4.\n#### 4", "4"))


def test_other_fields_make_a_problem():
    """SVAMP's."""
    row = {"Body": "Ann has 8 pens.", "Question": "How many pens?", "Answer": "8.0", "ID": "a"}
    problem = problem_from_row(row, "x", 1, "svamp-test", 7, ("Body", "Question"), "Answer")
    assert problem == Problem("svamp-test-00007", "Ann has 8 pens. How many pens?", "#### 8", "8")
    with pytest.raises(UserError, match=r"'Story' is missing.*data\.question_fields"):
        problem_from_row(row, "x", 1, "svamp-test", 7, ("Story", "Question"), "Answer")


def test_split_file_round_trips(tmp_path):
    problems = [
        Problem("a-1", "Wie viele Äpfel?\u2028", "x\n#### 1", "1"),
        Problem("b", "q", "#### 2", "2"),
    ]
    path = tmp_path / "train.jsonl"
    write_problems(path, problems)
    assert read_problems(path) == problems
    assert list(json.loads(path.read_text(encoding="utf-8").split("\n")[0])) == [
        "id",
        "question",
        "answer",
        "gold",
    ]


@pytest.mark.parametrize(
    "row", [{"id": "a"}, {"id": 1, "question": "q", "answer": "a", "gold": "1"}]
)
def test_damaged_split_file_is_a_user_error(tmp_path, row):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(UserError, match="row 1"):
        read_problems(path)
