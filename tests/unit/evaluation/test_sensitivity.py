"""Accuracy over strengths: the grid, the calls, the rows, the words."""

import csv

import numpy as np
import pytest

from snakesteer.config import GenerationConfig, SensitivityConfig, SteeringConfig
from snakesteer.data.problem import Problem
from snakesteer.evaluation.answers import answer_all
from snakesteer.evaluation.sensitivity import sensitivity_rows, strength_grid, write_sensitivity
from snakesteer.evaluation.statistics import wilson
from snakesteer.evaluation.strengths import in_words, read_strengths
from snakesteer.steering.build import steering_of
from snakesteer.steering.vector import Vector
from tests.fake_search import PROBLEMS as COUNT
from tests.fake_search import PROMPTER, FakeEngine, accuracy_at

LAYERS = (1, 3, 5)
SENSITIVITY = SensitivityConfig(strengths=[0.2, -0.1, 0.1], methods=["caa", "dac"])
STEERING = SteeringConfig(
    directions=["caa", "probe"],
    dac_entropy_threshold=(0.0, 3.0),
    dac_ptop=(0.2, 0.8),
    dac_max_alpha=(1.0, 4.0),
    dac_probe=1.5,
)
# As long as the residual stream at layer 1, half and a third as long at the others.
VECTORS = {
    (name, layer): Vector(name, layer, np.ones(4, np.float32), 2.0 * (1 + LAYERS.index(layer)))
    for name in ("caa", "probe")
    for layer in LAYERS
}
PROBLEMS = [
    Problem(f"p{number}", f"What is {number} ?", f"#### {number}", str(number))
    for number in range(COUNT)
]


def test_the_grid_holds_every_combination_once_and_no_steering_in_each():
    points = strength_grid(SENSITIVITY, STEERING, LAYERS, VECTORS)
    assert [(p.method, p.direction, p.layer, p.dose) for p in points] == [
        (method, direction, layer, pytest.approx(dose))
        for method in ("caa", "dac")
        for direction in ("caa", "probe")
        for layer in LAYERS
        for dose in (-0.1, 0.0, 0.1, 0.2)
    ]
    for point in points:
        assert point.alpha == pytest.approx(point.dose * (1 + LAYERS.index(point.layer)))
        steering = steering_of(point, VECTORS)
        assert (steering is None) == (point.dose == 0.0)
        if point.method == "dac" and steering is not None:
            dac = steering.dac
            assert (dac.entropy_threshold, dac.ptop) == (1.5, pytest.approx(0.5))
            assert (dac.max_alpha, dac.probe_alpha) == (2.5, pytest.approx(1.5 * point.alpha))


def test_strengths_are_in_the_unit_of_the_search():
    points = strength_grid(
        SENSITIVITY, STEERING.model_copy(update={"unit": "alpha"}), LAYERS, VECTORS
    )
    assert {p.alpha for p in points} == {-0.1, 0.0, 0.1, 0.2}
    assert all(p.dose == pytest.approx(p.alpha / (1 + LAYERS.index(p.layer))) for p in points)


def test_bands_begin_where_the_search_lets_them():
    steering = STEERING.model_copy(update={"band": 2})
    points = strength_grid(SENSITIVITY, steering, LAYERS, VECTORS)
    assert {p.layer for p in points} == {1, 3}
    assert all(p.alpha == 0.0 or len(steering_of(p, VECTORS).places) == 2 for p in points)


def test_rows_come_from_the_chunks_of_the_search_and_the_baseline(tmp_path):
    sensitivity = SensitivityConfig(strengths=[0.2, -0.1, 0.1])
    steering = SteeringConfig(directions=["caa"])
    [baseline] = answer_all(FakeEngine(0.0), PROMPTER, PROBLEMS, [None], GenerationConfig())
    candidates = strength_grid(sensitivity, steering, LAYERS, VECTORS)
    engine = FakeEngine(0.0)
    rows = sensitivity_rows(
        engine, PROMPTER, PROBLEMS, candidates, VECTORS, baseline, GenerationConfig(), 10, 0.95
    )
    assert [len(requests) for requests in engine.calls] == [90, 90, 36]  # 9 steered, none unsteered
    assert all(r.steering is not None for requests in engine.calls for r in requests)
    for row, candidate in zip(rows, candidates, strict=True):
        right = accuracy_at(candidate.alpha)
        assert (row["accuracy"], row["n"]) == (pytest.approx(right), COUNT)
        assert (row["low"], row["high"]) == wilson(row["correct"], COUNT, 0.95)
        assert row["invalid_rate"] == row["truncated_rate"] == row["repetition_rate"] == 0.0
        assert row["mean_new_tokens"] == 3.0
    write_sensitivity(tmp_path / "s.csv", rows)
    with (tmp_path / "s.csv").open(encoding="utf-8") as stream:
        told = list(csv.DictReader(stream))
    assert " ".join(told[0]) == (
        "method direction layer alpha dose n correct accuracy low high mean_new_tokens "
        "invalid_rate truncated_rate repetition_rate"
    )
    assert read_strengths(tmp_path / "s.csv") == rows


def rows_of(*accuracies, n=100):
    """Rows for doses −0.1, 0, 0.1, …"""
    return [
        {
            **{"method": "caa", "direction": "probe", "layer": 3, "n": n, "accuracy": accuracy},
            **{"alpha": 2.0 * (step - 1), "dose": 0.1 * (step - 1)},
        }
        for step, accuracy in enumerate(accuracies)
    ]


def test_the_best_strength_in_words():
    # One standard error of 60 % on 100 problems is 4.9 points.
    text = in_words(rows_of(0.3, 0.56, 0.6, 0.6))
    assert "α = 2 (dose 0.1), caa with the probe direction at layer 3: 60.0% of 100" in text
    assert "56.0% unsteered, which is within one standard error (4.9%): best α ≈ 0." in text
    text = in_words(rows_of(0.3, 0.55, 0.6))
    assert text.endswith("which is more than one standard error (4.9%) below.")
    text = in_words(rows_of(0.6, 0.6, 0.6))
    assert text == "No strength does better than none (60.0% of 100 validation problems): α ≈ 0."
