import json

import pytest

from snakesteer.data.problem import (
    Problem,
    is_bare,
    read_problems,
    solution_steps,
    strip_calculator,
    write_problems,
)
from snakesteer.errors import UserError


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


def test_what_is_bare():
    assert is_bare(Problem("p", "q", "#### 4", "4"))
    assert not is_bare(Problem("p", "q", "It is 4.\n#### 4", "4"))


def test_split_file_round_trips(tmp_path):
    problems = [
        Problem("a-1", "Wie viele Äpfel?\u2028", "x\n#### 1", "1"),
        Problem("b", "q", "#### 2", "2", group="7"),
    ]
    path = tmp_path / "train.jsonl"
    write_problems(path, problems)
    assert read_problems(path) == problems
    one, other, _ = path.read_text(encoding="utf-8").split("\n")
    assert list(json.loads(one)) == ["id", "question", "answer", "gold"]
    assert list(json.loads(other)) == ["id", "question", "answer", "gold", "group"]


@pytest.mark.parametrize(
    "row",
    [
        {"id": "a"},
        {"id": 1, "question": "q", "answer": "a", "gold": "1"},
        {"id": "a", "question": "q", "answer": "a", "gold": "1", "group": 1},
        {"id": "a", "question": "q", "answer": "a", "gold": "1", "more": "1"},
    ],
)
def test_damaged_split_file_is_a_user_error(tmp_path, row):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(UserError, match="row 1"):
        read_problems(path)
