"""What is looked at before a model is used: finite numbers, one residual stream, no look ahead."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from snakesteer.errors import UserError
from snakesteer.models.outputs import apart, check_outputs
from tests.tiny_models import ALL_FAMILIES, tiny_model

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": 20,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.5,
    "pad_token_id": 0,
}
GEMMA_3N = {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size_per_layer_input": 20,
    "hidden_size_per_layer_input": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "activation_sparsity_pattern": [0.0, 0.0],
    "num_kv_shared_layers": 0,
}


def other_model(model_type, **others):
    config = AutoConfig.for_model(model_type, **SMALL | others)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_what_can_be_steered_passes_and_keeps_no_hook(family, dtype):
    model = tiny_model(family).to(dtype)
    check_outputs(model, CPU, "tiny")
    assert not any(module._forward_hooks for module in model.modules())


def test_several_residual_streams_are_refused():
    """A vector for each token of each text would go to other places than these."""
    with pytest.raises(UserError, match=r"'gemma' puts out numbers of shape \[4, 2, 16, 32\]"):
        check_outputs(other_model("gemma3n_text", **GEMMA_3N), CPU, "gemma")


def test_an_encoder_is_refused_unless_it_is_used_as_a_decoder():
    with pytest.raises(UserError, match="'bert' says of a token changes with later ones"):
        check_outputs(other_model("bert"), CPU, "bert")
    check_outputs(other_model("bert", is_decoder=True), CPU, "bert")


def test_other_outputs_than_a_tensor_or_a_sequence_are_refused():
    """Reformer's, where the residual stream does not come first."""
    kinds = {"attn_layers": ["local"] * 2, "is_decoder": True, "axial_pos_embds": False}
    with pytest.raises(UserError, match="in place of one vector of 32 numbers"):
        check_outputs(other_model("reformer", **kinds), CPU, "reformer")


def test_numbers_that_are_not_finite_are_refused():
    model = tiny_model("llama")
    nn.init.constant_(model.model.norm.weight, torch.inf)
    with pytest.raises(UserError, match="not finite"):
        check_outputs(model, CPU, "llama")


def test_rounding_sets_nothing_apart_and_ruled_out_tokens_do_not_count():
    logits = torch.randn(9, 20, generator=torch.Generator().manual_seed(0))
    logits[:, 3] = -torch.inf
    assert not apart(logits, logits * (1 + 1e-4), exact=True)
    assert apart(logits, logits * 1.05, exact=True)
    assert not apart(logits, logits * 1.05, exact=False)
    assert apart(logits.bfloat16(), logits.flip(0).bfloat16(), exact=False)
