"""What counts as a degenerate text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.evaluation.repetition import is_degenerate, repetition

SOLUTION = (
    "Natalia sold 48/2 = 24 clips in May.\nNatalia sold 48+24 = 72 clips altogether in April and "
    "May.\n#### 72"
)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("a b c", 0.0),
        ("a b c d", 0.0),
        ("a b c d e", 0.0),
        ("a a a a a", 0.5),  # two 4-grams, one distinct
        ("!!!!!!", 2 / 3),  # marks count one by one
        ("a b a b a b a b", 3 / 5),  # abab, baba, and three times again
        ("1, 1, 1,", 1 / 3),
    ],
)
def test_shares_counted_by_hand(text, share):
    assert repetition(text) == pytest.approx(share)


def test_solutions_are_not_degenerate_and_loops_are():
    assert repetition(SOLUTION) < 0.1
    assert not is_degenerate(SOLUTION)
    assert is_degenerate(SOLUTION + " So the answer is 72." * 20)
    assert is_degenerate("the the the the the the the")


@given(st.text(alphabet="ab .\n"), st.integers(2, 5))
def test_saying_it_again_repeats_more(text, times):
    assert 0.0 <= repetition(text) < 1.0
    assert repetition(text + " " + " ".join([text] * times)) >= repetition(text)
