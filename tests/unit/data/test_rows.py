import re

import pytest

from snakesteer.data.gold import parse_gold
from snakesteer.data.problem import Problem, is_bare
from snakesteer.data.rows import BadRow, Fields, Source, problem_from_row, problems_from_rows
from snakesteer.errors import UserError


def test_row_becomes_a_problem():
    row = {"question": "How many?", "answer": "#### 1,080", "extra": 1}
    assert problem_from_row(row, "gsm8k-train-00012") == Problem(
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
        ({"question": "q", "answer": "1½"}, "not one number"),
        ({"question": "q", "answer": "#### 1.5 million"}, "no number after ####"),
        ({"Body": "q", "answer": 5}, "The row has 'Body', 'answer'"),
    ],
)
def test_bad_row_names_file_line_and_remedy(row, said):
    with pytest.raises(UserError) as caught:
        problems_from_rows([(13, row)], Source("some/x.jsonl", "line", "p"))
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
    problem = problem_from_row({"question": "q", "answer": value}, "p-00000")
    assert problem == Problem("p-00000", "q", f"#### {gold}", gold)
    assert is_bare(problem)
    assert parse_gold(problem.answer) == gold


def test_other_fields_make_a_problem():
    """SVAMP's."""
    row = {"Body": "Ann has 8 pens.", "Question": "How many pens?", "Answer": "8.0", "ID": "a"}
    fields = Fields(("Body", "Question"), "Answer")
    problem = problem_from_row(row, "svamp-test-00007", fields)
    assert problem == Problem("svamp-test-00007", "Ann has 8 pens. How many pens?", "#### 8", "8")
    with pytest.raises(BadRow, match="'Story' is missing") as caught:
        problem_from_row(row, "x", Fields(("Story", "Question"), "Answer"))
    assert "data.question_fields" in caught.value.remedy


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Question: How many?", "How many?"),
        ("Problem:\nHow many?", "How many?"),
        ("Frage: Wie viele?", "Wie viele?"),
        ("问题：多少?", "多少?"),
        ("A question: how many?", "A question: how many?"),
        ("Questions: how many?", "Questions: how many?"),
    ],
)
def test_a_label_in_front_of_a_question_is_left_to_the_template(question, asked):
    assert problem_from_row({"question": question, "answer": 1}, "p").question == asked


def test_a_label_alone_is_no_question():
    with pytest.raises(BadRow, match="'question' is missing"):
        problem_from_row({"question": "Question: ", "answer": 1}, "p")


GROUPED = Fields(group="seed")


@pytest.mark.parametrize(
    ("seed", "group"), [("Ann has?", "Ann has?"), (" a ", "a"), (7, "7"), (0, "0")]
)
def test_the_group_is_kept(seed, group):
    row = {"question": "q", "answer": 1, "seed": seed}
    assert problem_from_row(row, "p", GROUPED).group == group
    assert problem_from_row(row, "p").group is None


@pytest.mark.parametrize("seed", [None, "", " ", True, 1.5, [1]])
def test_a_row_without_a_group_is_refused(seed):
    with pytest.raises(BadRow, match="'seed' is missing, empty or not text or a whole") as caught:
        problem_from_row({"question": "q", "answer": 1, "seed": seed}, "p", GROUPED)
    assert "data.group_field" in caught.value.remedy


SOURCE = Source("x.jsonl", "line", "p")


def numbered(*answers):
    return [(n, {"question": "q", "answer": answer}) for n, answer in enumerate(answers, start=1)]


def test_all_bad_rows_are_named_at_once():
    rows = [
        (2, b'{"question": "q", "answer": 5}'),
        (4, b"{"),
        (5, b"[1]"),
        (7, {"question": "q", "answer": "1/2"}),
        (9, {"question": "q"}),
        (12, {"question": "r"}),
    ]
    with pytest.raises(UserError) as caught:
        problems_from_rows(rows, SOURCE)
    problem = caught.value.problem
    assert problem.startswith("x.jsonl, line 4: not JSON (")
    assert "; line 5: a JSON list, not an object; line 7: no #### in the answer" in problem
    assert problem.endswith(
        "; lines 9, 12: 'answer' is missing, empty or not text or a number. The "
        "row has 'question' (5 of 6 rows)"
    )
    for remedy in (
        "Every line must be one JSON object",
        "'#### ' and one number",
        "data.answer_field",
    ):
        assert caught.value.remedy.count(remedy) == 1


def test_of_many_bad_rows_the_first_ten_and_their_number():
    with pytest.raises(UserError) as caught:
        problems_from_rows(numbered(*[5] * 3, *["1/2", "½"] * 12), SOURCE)
    told = re.findall(r"lines ([\d, ]+):", caught.value.problem)
    assert told == ["4, 6, 8, 10, 12", "5, 7, 9, 11, 13"]
    assert caught.value.problem.endswith("; and 14 more (24 of 27 rows)")


def test_rows_without_a_number_can_be_left_out(caplog):
    rows = numbered(5, "1/2", "None", None, 6)
    problems = problems_from_rows(rows, SOURCE, leave_out=True)
    assert [(each.id, each.gold) for each in problems] == [("p-00000", "5"), ("p-00004", "6")]
    assert "left out: x.jsonl, line 2: " in caplog.text
    assert "(3 of 5 rows)" in caplog.text


@pytest.mark.parametrize("row", [b"{", {"question": "q"}, {"answer": 1}])
def test_other_faults_are_never_left_out(row):
    with pytest.raises(UserError, match=r"x\.jsonl, line 1"):
        problems_from_rows([(1, row)], SOURCE, leave_out=True)
