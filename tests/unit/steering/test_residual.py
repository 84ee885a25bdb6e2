"""Which positions a scope steers."""

import pytest
import torch

from snakesteer.steering.residual import ResidualSteering


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
