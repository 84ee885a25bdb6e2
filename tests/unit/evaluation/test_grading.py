import re
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snakesteer.data.embedded import generate_problems
from snakesteer.data.gold import parse_gold
from snakesteer.data.problem import strip_calculator
from snakesteer.evaluation.grading import (
    Grade,
    _without_ignored,
    extract_number,
    grade,
    harness_flexible,
    harness_strict,
)

RUN_ONS = [
    "\n\nQuestion: Ben has 5 pens and 7 books. How many?\nAnswer: 12\n#### 12",
    " Question: 99",
    "\nQ: 99\nA: The answer is 99",
    "\n\n**Problem 2:** 99\n#### 99",
    "\nProblem:\nTom has 99 pens.\n\nSolution: 99\n#### 99",
    "</s>99",
    "<|im_end|>\n<|im_start|>user\n99",
    "\n[MATH_TASK] Problem: 99",
]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4*7 = 28 pens.\n#### 28", "28"),
        ("#### 18.", "18"),
        ("#### 18.00", "18"),
        ("####18", "18"),
        ("####\n18", "18"),
        ("#### $1,080.", "1080"),
        ("#### **18**", "18"),
        ("#### -5", "-5"),
        ("#### 18\n#### 7", "18"),
        ("#### 18\n\nThis took 3 steps. The answer is 4.", "18"),
        ("3 steps. The answer is 18. 5 are left.", "18"),
        ("the final answer is: **$18.50**", "18.5"),
        ("The answer is 4*7 = 28 and 3 are left", "28"),
        ("The answer is 4*7. That makes 28", "28"),
        ("The answer is\n\n18 dollars", "18"),
        ("so 20 - 5 = 15", "15"),
        ("= 20-5", "5"),
        ("it is -3 now", "-3"),
        ("18 dollars...", "18"),
        ("4*7 = <<4*7=28>>28 pens", "28"),
        ("1,080 pens", "1080"),
        ("a version of 0.5", "0.5"),
    ],
)
def test_final_answer_is_found(text, number):
    assert extract_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "no number", "####", "Question: 5", "Q: 5\n#### 5", "$.,-"])
def test_no_answer_is_none(text):
    assert extract_number(text) is None
    result = grade(text, "5", "#### 5")
    assert result.numeric is False
    assert result.extracted is None


def test_the_three_verdicts_are_independent():
    gold = "4*7 = <<4*7=28>>28\n#### 28"
    assert grade("#### 28", "28", gold) == Grade(True, True, True, "28")
    assert grade("It is 28.00", "28", gold) == Grade(True, False, False, "28")
    assert grade("#### 28\n30 is wrong", "28", gold) == Grade(True, True, False, "28")
    assert grade("The answer is 30, not 28", "28", gold) == Grade(False, False, True, "30")
    assert grade("#### 28.5", "28", gold) == Grade(False, False, False, "28.5")


@given(
    st.integers(-(10**9), 10**9), st.sampled_from(["#### {}", "The answer is {}", "so it is {}"])
)
def test_how_a_number_is_written_changes_nothing(number, frame):
    gold, answer = str(number), f"#### {number}"
    for written in (
        f"{number}",
        f"{number:,}",
        f"{number}.",
        f"{number}.0",
        f"{number:,}.00",
        f"${number}",
        f"{number} dollars",
        f"**{number}**",
    ):
        assert grade(frame.format(written), gold, answer).numeric, written
        assert not grade(frame.format(written), str(number + 1), answer).numeric


@given(st.text(), st.sampled_from(RUN_ONS))
def test_a_run_on_changes_nothing(text, run_on):
    assert extract_number(text + run_on) == extract_number(text)


@given(
    st.lists(
        st.sampled_from(["####", " ", "\n", "1", "8", ",", ".", "-", "$", "answer is", "=", "Q:"])
    ),
    st.sampled_from(RUN_ONS),
)
def test_a_run_on_changes_no_almost_answer(parts, run_on):
    assert extract_number("".join(parts) + run_on) == extract_number("".join(parts))


@given(st.text(), st.text())
def test_text_after_a_marked_answer_changes_nothing(before, after):
    assume("#" not in before and extract_number(before + "\n#### 18 ") == 18)
    assert extract_number(f"{before}\n#### 18 {after}") == 18


@given(st.text(), st.text())
def test_grade_never_raises(text, answer):
    result = grade(text, "5", answer)
    assert result.extracted is None or Decimal(result.extracted) == extract_number(text)


@pytest.mark.parametrize("steps", [1, 2])
def test_gold_solutions_are_right_in_all_three(steps):
    for row in generate_problems(500, steps, seed=1):
        gold = parse_gold(row["answer"])
        for text in (row["answer"], " " + strip_calculator(row["answer"]) + "\n\n"):
            assert grade(text, gold, row["answer"]) == Grade(True, True, True, gold)


# Recorded from the filters and the metric of lm-eval 0.4.13 (task gsm8k, version 3.0):
# text, reference, strict-match, right, flexible-extract, right.
@pytest.mark.parametrize(
    ("text", "answer", "strict", "strict_right", "flexible", "flexible_right"),
    [
        ("28 pens.\n#### 28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "28", True, "28", True),
        ("#### 28.", "4*7 = <<4*7=28>>28 pens.\n#### 28", "28.", True, "28.", True),
        ("#### 28.0", "4*7 = <<4*7=28>>28 pens.\n#### 28", "28.0", False, "28.0", False),
        ("#### $28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "$28", True),
        ("####28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "28", True),
        ("####  28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "28", True),
        ("#### 28\n#### 7", "4*7 = <<4*7=28>>28 pens.\n#### 28", "28", True, "7", False),
        ("#### 7\n#### 28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "7", False, "28", True),
        ("#### 28, then", "4*7 = <<4*7=28>>28 pens.\n#### 28", "28,", True, "28,", True),
        ("#### .", "4*7 = <<4*7=28>>28 pens.\n#### 28", ".", False, "[invalid]", False),
        ("#### ,", "4*7 = <<4*7=28>>28 pens.\n#### 28", ",", False, "[invalid]", False),
        ("", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "[invalid]", False),
        ("no number", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "[invalid]", False),
        ("28 dollars...", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "...", False),
        ("so 28.", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "28.", True),
        ("so $28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "$28", True),
        ("so $", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "[invalid]", False),
        ("so $28.00", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "$28.00", False),
        ("It is -28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "-28", False),
        ("20-28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "-28", False),
        ("8", "#### 8", "[invalid]", False, "8", True),
        ("-8", "#### -8", "[invalid]", False, "-8", True),
        ("#### -8", "#### -8", "-8", True, "-8", True),
        (
            "28\n\nQuestion: 5 pens",
            "4*7 = <<4*7=28>>28 pens.\n#### 28",
            "[invalid]",
            False,
            "5",
            False,
        ),
        ("1,080", "#### 1,080", "[invalid]", False, "1,080", True),
        ("$1,080.", "#### 1,080", "[invalid]", False, "$1,080.", True),
        ("#### 1080", "#### 1,080", "1080", True, "1080", True),
        ("1 080", "#### 1,080", "[invalid]", False, "080", False),
        ("a,b. 28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "28", True),
        ("28.5.6", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "28.5.6", False),
        ("[invalid]", "[INVALID]", "[invalid]", True, "[invalid]", True),
        ("#### 5", "so 5", "5", False, "5", False),
        ("none", "a #### [Invalid]", "[invalid]", True, "[invalid]", True),
        ("#### 28", "#### 3\n#### 28.", "28", True, "28", True),
        ("#### 7", "#### $7", "7", True, "7", True),
        ("28", "#### 28 pens", "[invalid]", False, "28", False),
        ("２８ 28", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "28", True),
        ("28%", "4*7 = <<4*7=28>>28 pens.\n#### 28", "[invalid]", False, "28", True),
    ],
)
def test_harness_verdicts_are_reproduced(
    text, answer, strict, strict_right, flexible, flexible_right
):
    assert harness_strict(text) == strict
    assert harness_flexible(text) == flexible
    result = grade(text, "0", answer)
    assert (result.strict, result.flexible) == (strict_right, flexible_right)


IGNORED = (",", r"\$", r"(?s).*#### ", r"\.$")  # regexes_to_ignore of the harness's task gsm8k


@given(st.lists(st.sampled_from(["#### ", "####", "#", " ", ".", "\n", ",", "$", "1", "A"])))
def test_what_the_harness_ignores_is_what_its_patterns_take_out(parts):
    text = expected = "".join(parts)
    for pattern in IGNORED:
        expected = re.sub(pattern, "", expected)
    assert _without_ignored(text) == expected.lower()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["#", "#### ", "The answer is -", "\n#*", "9", "9,", "(", "1 + "])
def test_a_long_degenerate_answer_costs_no_square_of_its_length(text):
    """Steered hard, models repeat themselves; with n² steps these would take hours."""
    long = "The answer is " + text * (40_000 // len(text))
    assert not grade(long, "5", "#### 5").numeric
