"""How the heads of one row are steered."""

import dataclasses

import pytest
import torch

from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering

DELTA = torch.arange(24.0).reshape(3, 2, 4)


@pytest.mark.parametrize("after", ["zero", "hold", "mean"])
def test_a_dynamic_strength_as_a_constant_one(after):
    dac = Dac(-1.0, 0.6, 2.0, -3.0)
    steering = HeadSteering((0, 2), DELTA, -1.5, "dynamic", after, dac)
    constant = steering.at_constant(0.5)
    assert (constant.schedule, constant.dac, constant.layers) == ("fixed", None, (0, 2))
    assert [constant.factor(step) for step in (0, 2, 50)] == [-0.75] * 3
    for step in (0, 2, 50):
        assert torch.equal(constant.delta_at(step), steering.delta_at(step))


def test_vectors_are_equal_whoever_made_them_and_however_strong():
    steering = HeadSteering((0, 2), DELTA, -1.5)
    same = HeadSteering((0, 2), DELTA.clone(), 3.0, "start")
    assert same.vectors_key == steering.vectors_key
    changes = {"layers": (0, 1)}, {"after": "mean"}, {"delta": DELTA + 1e-5}, {"delta": DELTA[:2]}
    others = [dataclasses.replace(steering, **change).vectors_key for change in changes]
    assert len({steering.vectors_key, *others}) == 5


def test_the_steps_that_a_schedule_steers():
    for schedule in ("fixed", "start", "diminishing"):
        steering = HeadSteering((0, 2), DELTA, 2.0, schedule)
        first, end = steering.steered_steps
        assert [first <= step < end for step in range(9)] == [
            steering.factor(step) != 0.0 for step in range(9)
        ]
        assert steering.fades == (0.0 < steering.factor(1) < 2.0)
