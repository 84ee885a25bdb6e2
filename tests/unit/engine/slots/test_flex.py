"""The decode step through torch's flex_attention: the reference's tokens, and a row's own bits."""

import logging

import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.select import engine_record, make_engine
from snakesteer.engine.slots import attention, flex
from snakesteer.engine.slots.check import CannotRunExactly, examine
from snakesteer.engine.slots.engine import SlotsEngine
from tests.loaded_models import loaded_model, prompt_ids
from tests.unit.engine.slots.test_captured import steps_of
from tests.unit.engine.slots.test_engine import FEW_SHOT, LONG, SHARED, dac, mixed_heads, steering
from tests.unit.engine.slots.test_exactness import model_in

# Plain; capped scores and a sliding window; a bias on scores; no groups of heads.
FAMILIES = ("llama", "gemma2", "falcon-rw", "gpt2")

NOT_COMPILED = "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"


def requests_of(prompts):
    kinds = [None, steering(), steering("all", -0.8, 2), dac(), mixed_heads()[0]]
    return [Request(prompt, 8, one) for one in kinds for prompt in prompts]


def engine_with(family, shared=(), slots=8):
    loaded = loaded_model(family)
    return SlotsEngine(loaded, Decoding(), slots, shared_prefix=shared, kernel="flex")


@pytest.mark.parametrize("family", FAMILIES)
def test_its_tokens_are_the_reference_s(family):
    requests = requests_of([*FEW_SHOT[:2], *LONG])
    wanted = ReferenceEngine(loaded_model(family), Decoding(), 4).generate(requests)
    assert engine_with(family, SHARED).generate(requests) == wanted
    assert len({one.token_ids for one in wanted}) > len(wanted) // 3


def test_a_row_keeps_its_bits_beside_longer_ones():
    """What a slot's logits are does not depend on how many blocks its neighbours need."""
    alone = engine_with("llama").generate([Request(prompt_ids()[2], 12, steering())])
    among = engine_with("llama").generate(
        [Request(prompt_ids()[2], 12, steering()), *requests_of(LONG)]
    )
    assert among[0] == alone[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_check_passes(family, dtype):
    examine(model_in(dtype, family), "flex")


FAULTS = {
    "scores of 0.9 times their size": {"scaling": 0.9},
    "hidden keys are seen": {"hidden": False},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_kernel_is_refused_and_plain_operations_take_over(monkeypatch, caplog, fault):
    right = attention.add_block

    def wrong(seen, query, key, value, hidden, bias, scaling, softcap):
        scaling *= FAULTS[fault].get("scaling", 1.0)
        hidden = hidden & FAULTS[fault].get("hidden", True)
        return right(seen, query, key, value, hidden, bias, scaling, softcap)

    loaded = loaded_model("llama")
    with monkeypatch.context() as patch:
        patch.setattr(attention, "add_block", wrong)
        with pytest.raises(CannotRunExactly, match="off in float32"):
            examine(loaded, "flex")
        with caplog.at_level(logging.WARNING):
            engine = make_engine("slots", loaded, Decoding(), batch_size=4, attention="flex")
    assert engine_record(engine)["attention"] == "blocks"
    assert "engine.attention: blocks" in caplog.text
    assert engine_with("llama").kernel == "flex"


def test_where_it_cannot_be_compiled_plain_operations_take_over(monkeypatch, caplog):
    def without_triton(*_args, **_kwargs):
        raise RuntimeError("Cannot find a working triton installation")

    monkeypatch.setattr(flex, "flex_attention", without_triton)
    loaded = loaded_model("llama")
    engine = make_engine("slots", loaded, Decoding(), batch_size=4, attention="flex")
    assert engine_record(engine)["attention"] == "blocks"
    assert "Cannot find a working triton installation" in caplog.text


@pytest.mark.parametrize("kind", ["greedy", "dac"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_step_can_be_captured(monkeypatch, family, kind):
    """Tensors without data, which flex_attention does not take by itself, stand for a GPU's."""
    for name, value in (("_validate_device", lambda *_: None), (NOT_COMPILED, True)):
        monkeypatch.setattr(torch.nn.attention.flex_attention, name, value)
    assert steps_of(family, kind, "flex") == set()
