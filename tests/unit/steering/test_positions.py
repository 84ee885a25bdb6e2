"""Which positions a scope steers."""

from typing import get_args

import pytest

from snakesteer.config import Scope
from snakesteer.steering.positions import FOREVER, Positions
from snakesteer.steering.tokens import TokenSet

# Scope → whether the steps 0 to 4 are steered; generated token t is read at step t + 1.
STEPS = {
    "from_last_prompt_token": [True] * 5,
    "all": [True] * 5,
    "generated_only": [False, True, True, True, True],
    "last_prompt_token": [True, False, False, False, False],
    "first_k": [True, True, True, False, False],
    "generated_window": [False, False, True, True, False],
    "outside_generated_window": [False, True, False, False, True],
    # If they hold a token of the set.
    "at_tokens": [False, True, True, True, True],
    "not_at_tokens": [False, True, True, True, True],
}


@pytest.mark.parametrize("scope", get_args(Scope))
def test_steps(scope):
    positions = Positions(scope, first_k=3, window=(1, 3), tokens=(5, "a"))
    assert [positions.steers_step(step) for step in range(5)] == STEPS[scope]
    assert positions.steers_prompt == (scope == "all")
    goes_on = scope not in ("last_prompt_token", "first_k", "generated_window")
    assert positions.steers_step(100_000) == goes_on
    first, end = positions.steered_steps
    assert positions.steers_step(first) == STEPS[scope][first]
    assert (end == FOREVER) == goes_on


def test_scopes_by_token_have_a_set():
    assert Positions("at_tokens", tokens=(5, "a")).token_set == TokenSet((5, "a"))
    assert Positions("not_at_tokens", tokens="a").token_set == TokenSet("a", others=True)
    assert Positions("generated_only").token_set is None


@pytest.mark.parametrize("window", [(0, 1), (0, 3), (2, 5), (7, 8)])
def test_a_window_and_what_is_outside_of_it_are_the_generated_tokens(window):
    inside = Positions("generated_window", window=window)
    outside = Positions("outside_generated_window", window=window)
    generated = Positions("generated_only")
    for step in range(12):
        both = (inside.steers_step(step), outside.steers_step(step))
        assert sum(both) == generated.steers_step(step)
        assert both[0] == (window[0] <= step - 1 < window[1])
