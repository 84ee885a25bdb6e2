"""What a steering of the residual stream says of itself."""

from dataclasses import replace

import torch

from snakesteer.steering.dac import Dac
from snakesteer.steering.positions import Positions
from snakesteer.steering.residual import Place, ResidualSteering


class TestScope:
    def test_positions_are_those_of_its_scope(self):
        window = ResidualSteering(0, torch.ones(4), 1.0, "generated_window", window=(1, 3))
        assert window.positions == Positions("generated_window", window=(1, 3))
        assert (window.steered_steps, window.spared_steps) == ((2, 4), (0, 0))
        assert [window.steers_step(step) for step in range(5)] == [False, False, True, True, False]
        outside = replace(window, scope="outside_generated_window")
        assert (outside.steered_steps[0], outside.spared_steps) == (1, (2, 4))
        assert outside.key != replace(outside, window=(1, 4)).key
        assert ResidualSteering(0, torch.ones(4), 1.0, "all").steers_prompt

    def test_dac_has_positions_of_its_own(self):
        dac = Dac(0.5, 0.8, 3.0, 4.0)
        steering = ResidualSteering(0, torch.ones(4), 1.0, "first_k", 2, dac=dac)
        assert steering.positions == Positions("from_last_prompt_token")

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
