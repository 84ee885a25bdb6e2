"""A second view of a model: the same weights, and nothing of what is done to the first."""

from types import SimpleNamespace

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module

from snakesteer.engine.slots.attention import slot_attention
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.views import second_view
from tests.loaded_models import as_loaded
from tests.tiny_models import tiny_model

IDS = torch.tensor([[5, 9, 3, 7]])


@torch.inference_mode()
def logits(loaded):
    return loaded.model(input_ids=IDS).logits


def test_a_view_has_the_weights_and_no_others():
    loaded = as_loaded(tiny_model("llama"))
    view = second_view(loaded)
    own = {id(one) for one in loaded.model.parameters()}
    assert {id(one) for one in view.model.parameters()} == own
    assert len(view.blocks) == len(loaded.blocks)
    assert not {id(one) for one in view.blocks} & {id(one) for one in loaded.blocks}
    assert torch.equal(logits(view), logits(loaded))


@pytest.mark.parametrize("family", ["llama", "gpt_neo"])  # attention by name, and by module
def test_what_an_engine_does_to_a_model_does_not_reach_its_view(family):
    loaded = as_loaded(tiny_model(family))
    before, view = logits(loaded), second_view(loaded)
    with on_block_outputs(loaded.blocks, {1: torch.neg}):
        assert not torch.equal(logits(loaded), before)
        assert torch.equal(logits(view), before)
    with slot_attention(loaded.model):
        assert torch.equal(logits(view), before)
    with on_block_outputs(view.blocks, {1: torch.neg}):
        assert not torch.equal(logits(view), before)
        assert torch.equal(logits(loaded), before)


def test_a_model_that_accelerate_has_placed_has_a_view():
    loaded = as_loaded(tiny_model("llama"))
    before = logits(loaded)
    for module in (loaded.model, *loaded.blocks):
        add_hook_to_module(module, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    view = second_view(loaded)
    assert torch.equal(logits(view), before)
    with on_block_outputs(loaded.blocks, {1: torch.neg}):
        assert not torch.equal(logits(loaded), before)
        assert torch.equal(logits(view), before)


class Quantised(torch.nn.Linear):
    """A layer with what bitsandbytes keeps beside weights, which is as large as they are."""

    def __init__(self):
        super().__init__(4, 4)
        self.state = SimpleNamespace(copied=torch.ones(4, 4))


def test_what_a_quantised_layer_keeps_is_shared():
    loaded = as_loaded(tiny_model("llama"))
    loaded.model.extra = Quantised()
    view = second_view(loaded)
    assert view.model.extra is not loaded.model.extra
    assert view.model.extra.state is loaded.model.extra.state
