"""The blocks are found, read and changed in every family."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from snakesteer.errors import UserError
from snakesteer.models.blocks import (
    block_output,
    decoder_blocks,
    hidden_states_index,
    num_layers,
    on_block_outputs,
    replace_block_output,
    residual_norms,
)
from tests.loaded_models import blocks_of, loaded_model, prompt_ids
from tests.tiny_models import FAMILIES, NUM_LAYERS, tiny_config


def hook_counts(blocks):
    """HuggingFace leaves hooks of its own where hidden states were once asked for."""
    return [len(block._forward_hooks) for block in blocks]


def text():
    return torch.tensor([prompt_ids()[3]])


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_found_in_order(family):
    model = loaded_model(family).model
    assert num_layers(tiny_config(family)) == NUM_LAYERS
    blocks = decoder_blocks(model)
    assert len(blocks) == NUM_LAYERS
    assert all(a is b for a, b in zip(blocks, blocks_of(family, model), strict=True))


@pytest.mark.parametrize(("kind", "parts"), [("blt", {}), ("bart", {"encoder_layers": None})])
def test_a_config_that_states_no_number_of_blocks_is_refused(kind, parts):
    """A model of bytes with several stacks, and one that leaves it out."""
    config = AutoConfig.for_model(kind)
    vars(config).update(parts)
    with pytest.raises(UserError, match=f"{kind}.* does not say how many"):
        num_layers(config)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_hidden_states_index(family):
    """HuggingFace's states agree for all blocks but the last, which it shows after the norm."""
    loaded = loaded_model(family)
    seen = {}
    callbacks = {layer: lambda h, at=layer: seen.update({at: h}) for layer in range(NUM_LAYERS)}
    with on_block_outputs(loaded.blocks, callbacks):
        loaded.model(text())
    states = loaded.model(text(), output_hidden_states=True).hidden_states
    for layer in range(NUM_LAYERS - 1):
        assert torch.equal(seen[layer], states[hidden_states_index(layer)])
    assert not torch.allclose(seen[NUM_LAYERS - 1], states[-1], atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_replaced_output_reaches_what_follows_and_only_that(family):
    loaded = loaded_model(family)
    before = loaded.model(text()).logits
    with on_block_outputs(loaded.blocks, {1: lambda hidden: hidden * 1.0}):
        assert torch.equal(loaded.model(text()).logits, before)
    with on_block_outputs(loaded.blocks, {1: lambda hidden: hidden + torch.arange(32)}):
        assert not torch.allclose(loaded.model(text()).logits, before, atol=1e-3)
    assert torch.equal(loaded.model(text()).logits, before)


def test_hooks_go_after_use_and_after_an_error():
    loaded = loaded_model("gpt_neo")
    before = hook_counts(loaded.blocks)
    with on_block_outputs(loaded.blocks, {0: lambda _: None, 2: lambda _: None}):
        during = hook_counts(loaded.blocks)
        assert [a - b for a, b in zip(during, before, strict=True)] == [1, 0, 1, 0]
        loaded.model(text())
    assert hook_counts(loaded.blocks) == before

    def fail(_hidden):
        raise RuntimeError("from a callback")

    with (
        pytest.raises(RuntimeError, match="from a callback"),
        on_block_outputs(loaded.blocks, {1: fail, 3: lambda _: None}),
    ):
        loaded.model(text())
    assert hook_counts(loaded.blocks) == before


@pytest.mark.parametrize("layer", [-1, NUM_LAYERS, 99])
def test_a_missing_layer_is_refused_before_anything_is_hooked(layer):
    blocks = loaded_model("llama").blocks
    before = hook_counts(blocks)
    with (
        pytest.raises(UserError, match=rf"no hook point for layer {layer}.*steering\.layers"),
        on_block_outputs(blocks, {0: lambda _: None, layer: lambda _: None}),
    ):
        pytest.fail("the context must not open")
    assert hook_counts(blocks) == before


def test_a_silent_hook_is_an_error():
    loaded = loaded_model("llama")
    with (
        pytest.raises(UserError, match="layer 2 never ran"),
        on_block_outputs(loaded.blocks, {0: lambda _: None, 2: lambda _: None}),
    ):
        loaded.blocks[0](
            torch.zeros(1, 3, 32),
            position_embeddings=loaded.model.model.rotary_emb(
                torch.zeros(1, 3, 32), torch.arange(3)[None]
            ),
        )


class TestOutputs:
    hidden, other, cache = torch.zeros(1, 2, 3), torch.ones(1, 2, 3), object()

    @pytest.mark.parametrize("kind", [tuple, list])
    def test_sequences_keep_their_type_and_the_rest(self, kind):
        output = kind([self.hidden, self.cache, None])
        assert block_output(output) is self.hidden
        replaced = replace_block_output(output, self.other)
        assert type(replaced) is kind
        assert replaced[0] is self.other
        assert replaced[1:] == kind([self.cache, None])
        assert output[0] is self.hidden

    def test_tensors_keep_their_batch(self):
        assert block_output(self.hidden) is self.hidden
        assert replace_block_output(self.hidden, self.other) is self.other


class Stack(nn.Module):
    """A module with some lists of two members."""

    def __init__(self, **lists):
        super().__init__()
        self.config = PretrainedConfig(num_hidden_layers=2)
        for name, module in lists.items():
            self.add_module(name, module)


def pair(make=nn.Identity):
    return nn.ModuleList([make(), make()])


def test_the_outermost_list_is_taken():
    blocks = pair(lambda: Stack(experts=pair()))
    assert decoder_blocks(Stack(layers=blocks, triple=nn.ModuleList([nn.Identity()] * 3))) == list(
        blocks
    )


@pytest.mark.parametrize(
    ("model", "names"),
    [(Stack(encoder=pair(), decoder=pair()), "encoder, decoder"), (Stack(), "none")],
)
def test_unclear_blocks_are_an_error(model, names):
    with pytest.raises(UserError, match=f"2 decoder blocks .*: {names}"):
        decoder_blocks(model)


def test_residual_norms():
    hidden = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[300.0, 400.0], [1.0, 0.0]]]).bfloat16()
    norms = residual_norms(hidden)
    assert norms.dtype == torch.float32
    torch.testing.assert_close(norms, torch.tensor([[5.0, 0.0], [500.0, 1.0]]))
