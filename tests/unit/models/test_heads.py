"""The heads' outputs are found, read and changed in every family."""

from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from snakesteer.errors import UserError
from snakesteer.models.heads import find_heads
from tests.loaded_models import blocks_of, loaded_model, prompt_ids
from tests.tiny_models import FAMILIES, NUM_LAYERS

# Where each family keeps the projection, beside the name that most use.
PROJECTION_AT = {
    "gpt2": "attn.c_proj",
    "gpt_neo": "attn.attention.out_proj",
    "gpt_neox": "attention.dense",
    "phi": "self_attn.dense",
    "opt": "self_attn.out_proj",
}


def projections(family):
    at = attrgetter(PROJECTION_AT.get(family, "self_attn.o_proj"))
    return [at(block) for block in blocks_of(family, loaded_model(family).model)]


def text():
    return torch.tensor([prompt_ids()[3]])


@pytest.mark.parametrize("family", FAMILIES)
def test_projections_are_found_in_order(family):
    heads = find_heads(loaded_model(family).model)
    assert (heads.number, heads.head_dim, heads.width) == (4, 8, 32)
    assert all(a is b for a, b in zip(heads.projections, projections(family), strict=True))
    assert len(heads.projections) == NUM_LAYERS


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_heads_output_is_read_and_changed_before_the_projection(family):
    loaded, layer, head = loaded_model(family), 2, 1
    heads, module = find_heads(loaded.model), projections(family)[layer]
    seen, projected = [], []
    handle = module.register_forward_hook(lambda _m, _i, output: projected.append(output))
    delta = torch.zeros(4, 8)
    delta[head] = torch.arange(8) - 3.0

    def change(outputs):
        seen.append(outputs)
        return outputs + delta.flatten()  # [batch, seq, heads · head_dim]

    try:
        plain = loaded.model(text()).logits
        with heads.on_outputs({layer: lambda outputs: seen.append(outputs)}):
            assert torch.equal(loaded.model(text()).logits, plain)
        with heads.on_outputs({layer: change}):
            assert not torch.allclose(loaded.model(text()).logits, plain, atol=1e-3)
    finally:
        handle.remove()
    assert torch.equal(seen[0], seen[1])
    assert seen[0].shape == (1, text().shape[1], 32)
    # Only this head's columns of the projection carry the change.
    weight = module.weight.T if isinstance(module, nn.Linear) else module.weight  # [in, out]
    columns = slice(8 * head, 8 * head + 8)
    change_of_output = (delta[head] @ weight[columns]).expand_as(projected[0])
    torch.testing.assert_close(projected[2] - projected[1], change_of_output, atol=1e-5, rtol=1e-4)
    assert torch.equal(projected[1], projected[0])


@pytest.mark.parametrize(
    ("model_type", "others", "reason"),
    [
        ("mamba", {"state_size": 4}, "may have none"),
        (
            "gemma4_text",
            {
                "num_attention_heads": 4,
                "head_dim": 8,
                "global_head_dim": 16,
                "layer_types": ["sliding_attention", "full_attention"],
                "vocab_size_per_layer_input": 8,
                "intermediate_size": 8,
            },
            "differ from layer to layer|reads 64 numbers",
        ),
    ],
)
def test_heads_that_differ_between_layers_or_are_none_are_refused(model_type, others, reason):
    """Both were errors of the config's own: a setting that it lacks, or has more than once."""
    sizes = {"vocab_size": 8, "hidden_size": 32, "num_hidden_layers": 2}
    config = AutoConfig.for_model(model_type, **sizes, **others)
    with pytest.raises(UserError, match=reason) as refusal:
        find_heads(AutoModelForCausalLM.from_config(config))
    assert "steering.methods" in refusal.value.remedy


def test_a_layer_that_the_model_lacks_is_refused():
    heads = find_heads(loaded_model("llama").model)
    with pytest.raises(UserError, match="no hook point for layer 4"), heads.on_outputs({4: print}):
        pass


def model_with(block, head_dim=8):
    text = SimpleNamespace(
        num_hidden_layers=2, num_attention_heads=4, head_dim=head_dim, hidden_size=32
    )
    text.get_text_config = lambda: text
    model = nn.Module()
    model.layers = nn.ModuleList([block(), block()])
    model.config = text
    return model


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.mixer = nn.Linear(32, 32)


class Known(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = nn.Module()
        self.self_attn.o_proj = nn.Linear(32, 32)


def test_unknown_architectures_and_other_shapes_are_refused():
    assert find_heads(model_with(Known)).width == 32
    assert find_heads(model_with(Known, head_dim=None)).width == 32
    with pytest.raises(UserError, match="Cannot tell which module"):
        find_heads(model_with(Unknown))
    with pytest.raises(UserError, match="reads 32 numbers, but its config speaks of 4 heads of 16"):
        find_heads(model_with(Known, head_dim=16))
