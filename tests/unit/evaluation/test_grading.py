import re
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snakesteer.data.embedded import generate_problems
from snakesteer.data.gold import parse_gold
from snakesteer.data.problem import canonical, strip_calculator
from snakesteer.evaluation.final_answer import final_answer
from snakesteer.evaluation.grading import (
    Grade,
    _without_ignored,
    grade,
    harness_flexible,
    harness_strict,
    runs_on,
    written,
)
from snakesteer.evaluation.shown_text import ChatMarks

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


@pytest.mark.parametrize("text", ["", "no number", "####", "$.,-", "<think>5", "#### 3:30"])
def test_no_answer_is_none(text):
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
    for form in (
        f"{number}",
        f"{number:,}",
        f"{number}.",
        f"{number}.0",
        f"{number:,}.00",
        f"${number}",
        f"{number} dollars",
        f"**{number}**",
    ):
        assert grade(frame.format(form), gold, answer).numeric, form
        assert not grade(frame.format(form), str(number + 1), answer).numeric


@given(
    st.lists(
        st.sampled_from(["####", " ", "\n", "1", "8", ",", ".", "-", "$", "answer is", "=", "x"])
    ),
    st.sampled_from(RUN_ONS),
)
def test_a_run_on_changes_no_answer(parts, run_on):
    text = "".join(parts) + " = 18."
    assert grade(text + run_on, "5", "").extracted == grade(text, "5", "").extracted
    assert runs_on(text + run_on)
    assert not runs_on(text)


@pytest.mark.parametrize("run_on", RUN_ONS)
def test_behind_no_answer_nothing_is_cut_off(run_on):
    assert not runs_on(run_on.replace("#### 12", "").replace("#### 99", "").partition("99")[0])
    assert grade("Sure!" + run_on + "\n#### 18", "18", "").numeric


@given(st.text(), st.text())
def test_text_after_a_marked_answer_changes_nothing(before, after):
    text = f"{before}\n#### 18 pens"
    assume("#" not in before + after and "boxed" not in before + after and "<" not in after)
    assume(grade(text, "18", "").numeric)
    assert grade(f"{text}\n{after}", "18", "").numeric


@given(st.text(), st.text())
def test_grade_never_raises(text, answer):
    result = grade(text, "5", answer)
    assert result.extracted is None or Fraction(result.extracted) == final_answer(text)


@given(st.fractions())
def test_a_number_is_written_as_what_it_is(number):
    assert Fraction(written(number)) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9))
def test_decimals_are_written_in_canonical_form(number):
    assert written(Fraction(number)) == canonical(number)


def test_why_a_text_ended_and_its_format_count():
    assert grade("so 7 + 11 = 18", "18", "", "length").extracted is None
    assert grade("so 7 + 11 = 18~ Bo has 5", "18", "", "eos", ChatMarks(("~",))).numeric
    assert grade("so 18", "18", "", "eos", ChatMarks(thinking="think")).extracted is None


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
