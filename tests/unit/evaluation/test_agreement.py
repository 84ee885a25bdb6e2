import dataclasses
import time

import pytest

from snakesteer.data.problem import Problem
from snakesteer.evaluation.agreement import math_verify_agreement, math_verify_verdict
from snakesteer.evaluation.answers import Answer

RIGHT = Answer("a", True, True, True, "18", "7 + 11 = 18\n#### 18", "eos", 5, 9)
PROBLEM = Problem("a", "?", "#### 18", "18")


def test_the_verdict_is_its_own():
    assert math_verify_verdict("The answer is $\\boxed{\\frac{9}{2}}$.", "4.5")
    assert math_verify_verdict("#### 1,080", "1080")
    assert not math_verify_verdict("The answer is 17.", "18")
    assert not math_verify_verdict("", "18")


def test_the_share_of_equal_verdicts():
    wrong = dataclasses.replace(RIGHT, correct=False)  # as a grader with a fault would say
    both = dataclasses.replace(wrong, text="It is 17", extracted="17")
    assert math_verify_agreement([RIGHT], [PROBLEM]) == 1.0
    assert math_verify_agreement([wrong], [PROBLEM]) == 0.0
    assert math_verify_agreement([RIGHT, RIGHT, wrong, both], [PROBLEM]) == 0.75


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text",
    ["9**9**9**9", "$9^{9^{9^9}}$", "$99999999!!$", "(1" * 50_000, "$a" * 50_000, "9 " * 50_000],
)
def test_nothing_hangs(text: str):
    start = time.perf_counter()
    assert not math_verify_verdict(text, "18")
    assert time.perf_counter() - start < 30
