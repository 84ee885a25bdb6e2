"""Layer specifications."""

import pytest

from snakesteer.config.layers import parse_layers, resolve_layers
from snakesteer.errors import UserError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([10, 8], [8, 10]),
        ([0], [0]),
        ("8-12", [8, 9, 10, 11, 12]),
        ("8-20:4", [8, 12, 16, 20]),
        ("8-19:4", [8, 12, 16]),
        ("3-3", [3]),
        ("8-9:", [8, 9]),
        (" 8 - 10 ", [8, 9, 10]),
        ([0.5, 0.3], [0.3, 0.5]),
    ],
)
def test_specifications(given, expected):
    assert parse_layers(given) == expected


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("8", "not a range"),
        ("a-b", "not a range"),
        ("-3", "not a range"),
        ("8-12:0", "empty range"),
        ("12-8", "empty range"),
        ([], "is empty"),
        ([3, 3], "twice"),
        ([-1, 3], "counted from 0"),
        ([0.0, 0.5], "neither whole numbers nor fractions"),
        ([0.5, 1.0], "neither whole numbers nor fractions"),
        ([1, 0.5], "neither whole numbers nor fractions"),
    ],
)
def test_bad_specifications(given, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        parse_layers(given)
    assert str(given) in str(caught.value) or given == []


def test_fractions_of_the_depth():
    assert resolve_layers([0.3, 0.5, 0.7], 30) == [9, 14, 20]
    assert resolve_layers([0.01, 0.99], 12) == [0, 11]
    # Fractions that meet in a shallow model are one layer.
    assert resolve_layers([0.3, 0.4], 3) == [1]


def test_fractions_need_the_depth():
    with pytest.raises(UserError, match=r"depth is not known.*model\.num_layers"):
        resolve_layers([0.5], None)


def test_whole_numbers_do_not_need_the_depth():
    assert resolve_layers("8-10", None) == [8, 9, 10]


def test_a_layer_beyond_the_model():
    assert resolve_layers([3], 4) == [3]
    with pytest.raises(UserError, match=r"layer 4, but the model has 4 layers \(0 to 3\)"):
        resolve_layers([0, 4], 4)
