"""Which positions a scope steers."""

import pytest
import torch

from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import Place, ResidualSteering


class TestScope:
    @pytest.mark.parametrize(
        ("scope", "steps"),
        [
            ("from_last_prompt_token", [True] * 5),
            ("all", [True] * 5),
            ("generated_only", [False, True, True, True, True]),
            ("last_prompt_token", [True, False, False, False, False]),
            ("first_k", [True, True, True, False, False]),
        ],
    )
    def test_steps(self, scope, steps):
        steering = ResidualSteering(0, torch.ones(4), 1.0, scope, first_k=3)
        assert [steering.steers_step(step) for step in range(5)] == steps
        assert steering.steers_prompt == (scope == "all")

    def test_delta_is_alpha_times_vector_in_float32(self):
        delta = ResidualSteering(0, torch.tensor([1.0, -2.0], dtype=torch.bfloat16), 0.3).delta()
        assert delta.dtype == torch.float32
        assert torch.equal(delta, 0.3 * torch.tensor([1.0, -2.0]))


class TestAtConstant:
    def test_a_band_keeps_its_vectors_and_proportions(self):
        first, second = torch.ones(4), torch.arange(4.0)
        dac = Dac(0.5, 0.8, 3.0, -4.0)
        band = (Place(3, second, -1.0),)
        steering = ResidualSteering(1, first, -2.0, "first_k", 3, dac=dac, more=band)
        constant = steering.at_constant(0.25)
        assert constant.dac is None
        assert constant.steered_steps == steering.steered_steps  # DAC's, whatever the scope is
        assert not constant.steers_prompt
        assert [(p.layer, p.vector, p.alpha) for p in constant.places] == [
            (1, first, -0.5),
            (3, second, -0.25),
        ]
        assert steering.places[0].alpha == -2.0

    def test_a_factor_of_0_is_no_steering(self):
        steering = ResidualSteering(1, torch.ones(4), 2.0, dac=Dac(0.5, 0.8, 3.0, 4.0))
        assert steering.at_constant(0.0).delta().count_nonzero() == 0
