"""What math-verify is asked, and what never reaches it."""

import time
from fractions import Fraction

import pytest

from snakesteer.evaluation import expressions
from snakesteer.evaluation.expressions import expression_value


@pytest.mark.parametrize(
    ("latex", "value"),
    [
        ("7 + 11", 18),
        ("20 - 5", 15),
        ("2*9", 18),
        ("2 × 9", 18),
        ("2 · 9", 18),
        ("36/2", 18),
        ("36 ÷ 2", 18),
        ("2(4+5)", 18),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("\\frac{9}{2}", Fraction(9, 2)),
        ("-4\\frac{1}{2}", Fraction(-9, 2)),
        ("\\frac{\\frac{1}{2}}{\\frac{1}{4}}", 2),
        ("\\sqrt{324}", 18),
        ("2^{10}", 1024),
        ("10^{-2}", Fraction(1, 100)),
        ("\\left(7+11\\right)", 18),
        ("100*(1+50/100)^3", Fraction(675, 2)),
    ],
)
def test_values(latex: str, value: Fraction):
    assert expression_value(latex) == value


@pytest.mark.parametrize(
    "latex",
    ["", "x", "x + 1", "2x", "1/0", "\\sqrt{2}", "\\pi", "[1,2]", "1 2", "+", "(", "{{{{{1}}}}}"],
)
def test_what_has_no_value(latex: str):
    assert expression_value(latex) is None


HUGE = [
    *("9^{9^{9}}", "9^9^9", "((9^9)^9)^9", "10^{999}", "2^{200}*2^{2}", "9!", "\\binom{99}{9}"),
    *("9" * 31, "1+" * 60 + "1", "(" * 60 + "1" + ")" * 60, "\\sum_{i=1}^{9} i"),
]


@pytest.mark.parametrize("latex", HUGE)
def test_what_would_take_long_is_not_asked(latex: str, monkeypatch: pytest.MonkeyPatch):
    expression_value.cache_clear()
    monkeypatch.setattr(expressions, "_math_verify", lambda: 1 / 0)
    assert expression_value(latex) is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "latex",
    ["((((1))))+" * 10 + "1", "1*" * 55 + "1", "-" * 100 + "1", "2^{200}", "\\frac{1}{2}" * 10],
)
def test_the_worst_that_is_asked_takes_seconds(latex: str):
    expression_value("1+1")  # imports
    start = time.perf_counter()
    expression_value(latex)
    assert time.perf_counter() - start < 10


def test_values_are_no_longer_than_an_answer():
    assert expression_value("10^{49}") == 10**49
    assert expression_value("10^{51}") is None
    assert expression_value("10^{-51}") is None
