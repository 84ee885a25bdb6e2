"""Layer specifications."""

import pytest

from snakesteer.config import SteeringConfig
from snakesteer.config.layers import parse_layers, resolve_layers, settled_layers
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
        ("all", []),
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


def test_all_layers_are_one_band():
    steering, layers = settled_layers(SteeringConfig(layers="all"), 5)
    assert (steering.band, layers) == (5, [0, 1, 2, 3, 4])
    # A run's record holds both; it is read again as it is.
    assert settled_layers(steering, 5) == (steering, layers)
    steering, layers = settled_layers(SteeringConfig(layers="0-4"), 5)
    assert (steering.band, layers) == (1, [0, 1, 2, 3, 4])
    with pytest.raises(UserError, match=r"steering\.layers is all.*model\.num_layers"):
        settled_layers(SteeringConfig(layers="all"), None)


def test_vectors_that_are_trained_together_are_one_band():
    for layers, band in (("2-4", 3), ("2-4", 1)):
        found, _ = settled_layers(SteeringConfig(layers=layers, band=band), 9)
        assert found.band == band
    with pytest.raises(UserError, match="bands would share layers") as caught:
        settled_layers(SteeringConfig(layers="2-5", band=3), 9)
    assert "steering.band: 1" in caught.value.remedy
    settled_layers(SteeringConfig(layers="2-5", band=3, directions=["caa"]), 9)
