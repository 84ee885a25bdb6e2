"""What a decoder has room for, and what requests need."""

import dataclasses

import pytest
import torch

from snakesteer.engine.interface import Request
from snakesteer.engine.slots.capacity import Capacity, needed_for, parting
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from tests.loaded_models import direction
from tests.tiny_models import HIDDEN

ROOM = Capacity(8, 2, 5, 30, places=2, dynamic=True, head_steps=9)
DAC = Dac(0.5, 0.8, 3.0, 2.0)


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"blocks": 1, "steps": 3, "places": 1}, True),
        ({"blocks": 3}, False),
        ({"steps": 31}, False),
        ({"places": 3}, False),
        ({"parts": 2}, False),
        ({"head_steps": 0}, True),
        ({"head_steps": 10}, False),
        ({"shared": 4}, False),
        ({"slots": 4}, False),
        ({"dynamic": False}, False),
    ],
)
def test_a_decoder_holds_what_is_not_larger(change, held):
    """Slots and the shared prefix are part of a result, and must be the same."""
    work = dataclasses.replace(ROOM, **change)
    assert ROOM.holds(work) == held
    if all(getattr(work, name) == getattr(ROOM, name) for name in ("slots", "shared", "dynamic")):
        both = ROOM.with_room_for(work)
        assert both.holds(ROOM)
        assert both.holds(work)


def test_what_a_request_needs():
    prompt = tuple(range(100))
    assert needed_for(Request(prompt, 29), 8, 0) == Capacity(8, 2, 0, 29)
    assert needed_for(Request(prompt, 30), 8, 0).blocks == 3
    assert needed_for(Request(prompt, 30), 8, 1).blocks == 2
    band = ResidualSteering(3, direction(), 1.0, more=(Place(1, direction(), 1.0),))
    assert needed_for(Request(prompt, 1, band), 8, 0) == Capacity(8, 2, 0, 1, places=2)
    three = dataclasses.replace(band.parts[0], beside=(band, dataclasses.replace(band, more=())))
    needed = needed_for(Request(prompt, 1, three), 8, 0)
    assert needed == Capacity(8, 2, 0, 1, places=2, parts=3)
    dynamic = Request(prompt, 1, dataclasses.replace(band, dac=DAC))
    assert parting(dynamic) == 1
    needed = needed_for(dynamic, 8, 0)
    assert (needed.dynamic, needed.places) == (True, 2)


def test_what_attention_heads_and_the_start_of_a_prompt_need():
    prompt = tuple(range(100))
    heads = HeadSteering((2, 3), torch.ones(5, 2, HIDDEN), 1.0)
    assert needed_for(Request(prompt, 29, heads), 8, 0) == Capacity(8, 2, 0, 29, head_steps=5)
    dynamic = dataclasses.replace(heads, schedule="dynamic", dac=DAC)
    assert parting(Request(prompt, 1, dynamic)) == 1  # block 2 is the first that differs
    every = dataclasses.replace(dynamic, layers=(0, 3))
    assert parting(Request(prompt, 1, every)) == -1
    start = PromptStartSteering(1, torch.ones(3, HIDDEN), 1.0)
    assert needed_for(Request(prompt, 29, start), 8, 0) == Capacity(8, 2, 0, 29)
