"""The noise floor, of answers made by hand and of real engines."""

import dataclasses

import pytest

from snakesteer.config import GenerationConfig
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.count import MIN_SLOTS
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.evaluation.answers import Answer, answer_all
from snakesteer.evaluation.noise_floor import noise_floor
from tests.loaded_models import loaded_model
from tests.unit.evaluation.test_final import PROBLEMS, PROMPTER

RIGHT = Answer("p", True, True, True, "1", "1", "eos", 5, 2)
WRONG = dataclasses.replace(RIGHT, correct=False, extracted="2", text="2")
OTHER_TEXT = dataclasses.replace(RIGHT, text="It is 1")


def test_texts_and_outcomes_are_counted_both_ways():
    engine = ReferenceEngine(loaded_model("llama"), Decoding(), 8)
    before = [RIGHT, RIGHT, RIGHT, WRONG, WRONG, RIGHT, WRONG]
    after = [RIGHT, OTHER_TEXT, WRONG, RIGHT, OTHER_TEXT]  # the first five alone were asked again
    sizes = []

    def again():
        sizes.append(engine.batch_size)
        return after

    assert noise_floor(engine, before, again) == {
        "setting": "batches of 4 instead of 8",
        "texts_changed": 4,
        "gained": 2,
        "lost": 1,
        "n": 5,
    }
    assert sizes == [4]


@pytest.mark.parametrize("slots", [16, 2 * MIN_SLOTS])
def test_the_same_engine_answers_with_half_as_many_slots(slots):
    engine = SlotsEngine(loaded_model("llama"), Decoding(), slots)
    used = []

    def answers():
        [found] = answer_all(engine, PROMPTER, PROBLEMS, [None], GenerationConfig(max_new_tokens=4))
        used.append([*engine._lanes.values()][-1].decoder.capacity.slots)
        return found

    floor = noise_floor(engine, answers(), answers)
    assert used == [slots, slots // 2]
    assert floor["setting"] == f"{slots // 2} slots instead of {slots}"
    assert floor["n"] == len(PROBLEMS)
    # In float32 no token of the tiny model is that close to another.
    assert floor["texts_changed"] == floor["gained"] == floor["lost"] == 0


@pytest.mark.parametrize(
    "engine",
    [
        SlotsEngine(loaded_model("llama"), Decoding(), 2 * MIN_SLOTS - 1),
        ReferenceEngine(loaded_model("llama"), Decoding(), 1),
    ],
    ids=["slots", "reference"],
)
def test_an_engine_that_cannot_be_halved_is_left_alone(engine):
    before = vars(engine).copy()
    assert noise_floor(engine, [RIGHT], lambda: pytest.fail("asked again")) is None
    assert vars(engine) == before
