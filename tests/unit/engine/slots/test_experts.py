"""Every expert on every row gives what HuggingFace's own experts give, row by row."""

import pytest
import torch

from snakesteer.engine.slots import experts
from snakesteer.engine.slots.experts import every_expert, experts_refusal, has_experts
from tests.tiny_models import HIDDEN, tiny_model


def inputs(tokens=11, number=4, used=2):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, HIDDEN, generator=generator)
    scores = torch.rand(tokens, number, generator=generator)
    weights, chosen = scores.topk(used, dim=-1)
    return hidden, chosen, weights


@pytest.fixture(params=["mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss"])
def module(request):
    model = tiny_model(request.param)
    assert has_experts(model)
    assert experts_refusal(model) is None
    found = next(m for m in model.modules() if hasattr(m, "gate_up_proj"))
    for name, weights in found.named_parameters():
        if name.endswith("_bias"):  # they begin as 0
            weights.data += torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    return found


@pytest.mark.parametrize("numbers", [2**26, 1])
@torch.no_grad()
def test_it_is_what_huggingface_computes(module, numbers, monkeypatch):
    """Also where the experts take turns."""
    monkeypatch.setattr(experts, "_NUMBERS", numbers)
    module.config._experts_implementation = "eager"
    arguments = inputs()
    torch.testing.assert_close(
        every_expert(module, *arguments), module(*arguments), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_neighbours_change_no_bit(module):
    """Neither their numbers nor which experts they choose."""
    hidden, chosen, weights = inputs()
    wanted = every_expert(module, hidden, chosen, weights)[3]
    hidden[:3], hidden[4:] = 7.0, torch.nan
    chosen[:3], chosen[4:] = torch.tensor([0, 1]), torch.tensor([3, 2])
    assert torch.equal(every_expert(module, hidden, chosen, weights)[3], wanted)


@torch.no_grad()
def test_an_expert_that_was_not_chosen_may_overflow(module):
    hidden, chosen, weights = inputs()
    chosen[:] = torch.tensor([0, 2])
    wanted = every_expert(module, hidden, chosen, weights)
    module.down_proj[1] = torch.inf
    assert torch.equal(every_expert(module, hidden, chosen, weights), wanted)


def test_another_layout_is_refused(module):
    module.has_post_expert_norm = True
    with pytest.raises(NotImplementedError, match="laid out"):
        every_expert(module, *inputs())


def test_a_model_without_experts():
    model = tiny_model("llama")
    assert experts_refusal(model) is None
    assert not has_experts(model)
