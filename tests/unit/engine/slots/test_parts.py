"""What of a request's steering is done in its slot, and what where its prompt is read."""

import dataclasses

import pytest
import torch

from snakesteer.engine.interface import Request
from snakesteer.engine.slots.parts import parts, reading
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from tests.loaded_models import direction
from tests.tiny_models import HIDDEN

PROMPT = (5, 6, 7, 8)
START = PromptStartSteering(2, torch.randn(4, HIDDEN), 1.5)
ALL = ResidualSteering(1, direction(), 1.0, "all", more=(Place(3, direction(1), 0.5),))
HEADS = HeadSteering((0, 1), torch.ones(3, 2, 4), 0.5)


def request(steering):
    return Request(PROMPT, 3, steering)


def test_a_slot_does_what_is_done_from_the_last_prompt_token_on():
    for steering in (None, HEADS, ALL, dataclasses.replace(ALL, scope="generated_only")):
        found = parts(request(steering))
        assert found.blocks is (steering if isinstance(steering, ResidualSteering) else None)
        assert found.heads is (steering if isinstance(steering, HeadSteering) else None)
        assert found.prompt is (ALL if steering is ALL else None)


@pytest.mark.parametrize(("tokens", "last"), [(1, 0), (3, 2), (4, 3), (5, None), (9, None)])
def test_a_short_prompt_ends_within_the_vectors_of_its_start(tokens: int, last: int | None):
    found = parts(Request(tuple(range(tokens)), 3, START))
    assert found.prompt is START
    if last is None:
        assert found.blocks is None
        return
    assert (found.blocks.layer, found.blocks.alpha) == (2, 1.5)
    assert torch.equal(found.blocks.vector, START.vector[last])
    assert found.blocks.steered_steps == (0, 1)


def test_prompts_are_shared_by_those_that_read_them_alike():
    """Equal vectors are one reading, whoever made them; strength 0 and DAC read it unsteered."""
    dac = Dac(0.5, 0.8, 3.0, 2.0)
    unread = (ALL.off, dataclasses.replace(ALL, dac=dac), START.off, HEADS)
    assert {reading(request(steering)) for steering in unread} == {None}
    for steering in (ALL, START):
        again = steering.with_vectors(lambda vector, _layer: vector.clone())
        other = steering.with_vectors(lambda vector, _layer: 2 * vector)
        assert reading(request(again)) == reading(request(steering)) is not None
        assert reading(request(other)) != reading(request(steering))
        stronger = dataclasses.replace(steering, alpha=0.3)
        assert reading(request(stronger)) != reading(request(steering))
    fewer = dataclasses.replace(START, vector=START.vector.reshape(8, HIDDEN // 2))
    assert reading(request(fewer)) != reading(request(START))
