"""A second task is read as what it is, and what it is not is named with its row."""

import json
from pathlib import Path

import pytest

from snakesteer.data.problem import Problem
from snakesteer.data.second_task import ChoiceProblem, read_second_task
from snakesteer.errors import UserError


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


CHOICE = {"question": "Is ice cold?", "choices": ["no", "yes"], "answer": 1}


def test_problems(tmp_path: Path):
    rows = [{"question": "How many?", "answer": 5}, {"question": "And now?", "answer": "#### 6"}]
    first, second = read_second_task(write(tmp_path / "sums.jsonl", *rows))
    assert first == Problem("sums-00000", "How many?", "#### 5", "5")
    assert (second.id, second.gold) == ("sums-00001", "6")


def test_choices(tmp_path: Path):
    [found] = read_second_task(write(tmp_path / "facts.jsonl", CHOICE | {"subject": "ice"}))
    assert found == ChoiceProblem("facts-00000", "Is ice cold?", ("no", "yes"), 1)


BAD_TASKS = {
    "no rows": ([], ("holds no row", "off_target.task_file: null")),
    "no question": ([{"answer": 5}], ("row 1: 'question' is missing", "'answer'")),
    "no answer": ([{"question": "A?"}], ("row 1: 'answer' is missing", "'choices' in every row")),
    "no number": ([{"question": "A?", "answer": "five"}], ("not one number", "'five'")),
    "one choice": ([CHOICE, CHOICE | {"choices": ["yes"]}], ("row 2: 'choices'", "two texts")),
    "a choice that is no text": ([CHOICE | {"choices": ["yes", 3]}], ("row 1: 'choices'",)),
    "choices as a text": ([CHOICE | {"choices": "yes"}], ("row 1: 'choices' is yes",)),
    "a choice twice": ([CHOICE | {"choices": ["yes", "yes"]}], ("names a text twice",)),
    "answer out of range": (
        [CHOICE | {"answer": 2}],
        ("row 1: 'answer' is '2', not the index of one of 2 choices", "from 0 to 1"),
    ),
    "a negative answer": ([CHOICE | {"answer": -1}], ("'answer' is '-1'", "from 0 to 1")),
    "the answer in words": ([CHOICE | {"answer": "yes"}], ("'answer' is 'yes'", "from 0 to 1")),
    "true as answer": ([CHOICE | {"answer": True}], ("'answer' is 'True'",)),
    "half a character": (
        [CHOICE | {"choices": ["yes", "n\ud800"]}],
        ("row 1: 'choices' holds half a character", "remove the row"),
    ),
    "half a character in a question": ([CHOICE | {"question": "\ud800"}], ("row 1: 'question' h",)),
    "choices in some rows only": (
        [CHOICE, {"question": "A?", "answer": 0}],
        ("row 2: 'choices' is None",),
    ),
    "choices in a later row": (
        [{"question": "A?", "answer": 0}, CHOICE],
        ("row 2: 'choices' beside rows without", "its own file"),
    ),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_bad_tasks(tmp_path: Path, name: str):
    rows, words = BAD_TASKS[name]
    with pytest.raises(UserError) as error:
        read_second_task(write(tmp_path / "task.jsonl", *rows))
    assert [word for word in words if word not in str(error.value)] == [], error.value
    assert "task.jsonl" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        read_second_task(tmp_path / "none.jsonl")
