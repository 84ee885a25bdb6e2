"""How the heads of one row are steered."""

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
