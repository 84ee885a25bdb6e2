import hashlib
import json
import re
from collections import Counter

import pytest

from snakesteer.data.duplicates import mask_numbers, normalise
from snakesteer.data.embedded import generate_problems
from snakesteer.data.gold import parse_gold

COUNT = 3000
CALCULATION = re.compile(r"(\d+)([-+*/])(\d+) = <<(\d+[-+*/]\d+)=(\d+)>>(\d+) ")


@pytest.fixture(scope="module", params=[1, 2])
def steps(request):
    return request.param


@pytest.fixture(scope="module")
def rows(steps):
    return generate_problems(COUNT, steps, seed=0)


def test_questions_differ_in_more_than_numbers(rows):
    assert len({mask_numbers(normalise(row["question"])) for row in rows}) == COUNT


def test_every_calculation_is_right_and_leads_to_the_gold(rows):
    for row in rows:
        *sentences, last = row["answer"].split("\n")
        for sentence in sentences:
            ((left, operator, right, term, result, written),) = CALCULATION.findall(sentence)
            assert term == f"{left}{operator}{right}"
            assert result == written
            a, b, c = int(left), int(right), int(result)
            assert {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b * c == a}[operator]
            assert c > 0
        assert last == f"#### {result}"
        assert parse_gold(row["answer"]) == result


def test_numbers_of_the_solution_come_from_the_question(rows):
    for row in rows:
        known = set(re.findall(r"\d+", row["question"]))
        for left, _, right, _, result, _ in CALCULATION.findall(row["answer"]):
            assert {left, right} <= known
            known.add(result)


def test_one_step_or_a_mix_and_all_four_operations(steps, rows):
    terms = [re.findall(r"<<\d+(.)\d+=", row["answer"]) for row in rows]
    lengths = Counter(map(len, terms))
    assert set(lengths) == set(range(1, steps + 1))
    assert min(lengths.values()) >= 0.45 * COUNT
    assert {operator for row in terms for operator in row} == set("+-*/")


def test_there_are_many_kinds_of_problem(rows):
    frames = {re.sub(r"\b([A-Z][a-z]+|\d+)\b", "_", row["answer"].split("\n")[0]) for row in rows}
    assert len(frames) >= 12
    names = Counter(re.findall(r"\b[A-Z][a-z]+\b", " ".join(row["question"] for row in rows)))
    assert len(names) >= 40


def test_text_is_finished(rows):
    for row in rows:
        assert not re.search(r"[{}]|  |\b1 ", row["question"])
        assert row["question"].endswith("?")
        assert len(row["answer"].split()) <= 25


def test_seed_decides(steps, rows):
    assert generate_problems(50, steps, seed=0) == rows[:50]
    assert generate_problems(50, steps, seed=1) != rows[:50]


def test_sequence_is_the_same_on_every_python(steps, rows):
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert digest[:16] == {1: "df0cbaa4488d7cb6", 2: "5af881b57f5000f4"}[steps]
