"""ActAdd: its vectors, and what an engine does with them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from snakesteer.engine.batching import alike
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine, steered
from snakesteer.errors import UserError
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.vector import Vector, read_vector, write_vector
from snakesteer.vectors.actadd import blank_id, prompt_differences
from tests.loaded_models import blocks_of, direction, loaded_model, prompt_ids
from tests.tiny_models import CONTEXT, EOS, NUM_LAYERS, PAD

PLUS, MINUS = prompt_ids(["Love and", "Hate"])
VECTORS = torch.stack([direction(seed) for seed in range(4)])  # one prompt is shorter


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@torch.no_grad()
def test_differences_of_hidden_states(family):
    loaded = loaded_model(family)
    layers = list(range(NUM_LAYERS - 1))  # HuggingFace's last entry is behind the final norm
    found = prompt_differences(loaded, PLUS, MINUS, layers)
    blanks = prompt_ids([" "])[0][-1:] * (len(PLUS) - len(MINUS))
    assert len(blanks) > 0
    assert blank_id(loaded) == blanks[0]
    states = [
        loaded.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for ids in (PLUS, (*MINUS, *blanks))
    ]
    for layer in layers:
        # The paper's layer is one more: it reads the next block's input.
        wanted = states[0][layer + 1][0] - states[1][layer + 1][0]
        assert found[layer].shape == (len(PLUS), wanted.shape[1])
        np.testing.assert_allclose(found[layer], wanted, rtol=1e-4, atol=1e-4)
    swapped = prompt_differences(loaded, MINUS, PLUS, [1])[1]
    np.testing.assert_array_equal(swapped, -found[1])


def test_prompts_that_are_no_pair():
    loaded = loaded_model("llama")
    with pytest.raises(UserError, match=r"do not differ at layer 1.*two different prompts"):
        prompt_differences(loaded, PLUS, PLUS, [1])
    with pytest.raises(UserError, match="have 0 and"):
        prompt_differences(loaded, (), PLUS, [1])
    with pytest.raises(UserError, match="some words long"):
        prompt_differences(loaded, (5,) * (CONTEXT + 1), PLUS, [1])


def test_a_dose_is_the_mean_length_of_what_is_added(tmp_path):
    raw = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]], dtype=np.float32)
    vector = Vector("actadd", 2, raw, mean_residual_norm=10.0)
    assert vector.norm == pytest.approx(np.sqrt((0 + 25 + 100) / 3))
    assert vector.alpha(vector.dose(1.3)) == pytest.approx(1.3)
    write_vector(tmp_path / "v.safetensors", vector, {"prompts": ["a", "b"]})
    again = read_vector(tmp_path / "v.safetensors")
    np.testing.assert_array_equal(again.raw, raw)
    assert (again.direction, again.layer, again.mean_residual_norm) == ("actadd", 2, 10.0)


@torch.no_grad()
def slow_answer(family, request):
    """Greedy ids without cache or batch, from what ActAdd is said to do."""
    one, ids = request.steering, list(request.prompt_ids)
    model = loaded_model(family).model

    def hook(_module, _inputs, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        for position in range(min(len(one.vector), len(request.prompt_ids))):
            hidden[0, position] += one.alpha * one.vector[position]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = blocks_of(family, model)[one.layer].register_forward_hook(hook)
    try:
        while len(ids) < len(request.prompt_ids) + request.max_new_tokens:
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] == EOS:
                return tuple(ids[len(request.prompt_ids) : -1])
    finally:
        handle.remove()
    return tuple(ids[len(request.prompt_ids) :])


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neo"])
def test_the_reference_equals_a_slow_computation(family):
    """Ragged batches, prompts longer and shorter than the vectors, mixed with other requests."""
    places = itertools.product((0, 2), (1.0, -2.0))
    steerings = [PromptStartSteering(layer, VECTORS, alpha) for layer, alpha in places]
    requests = [Request(prompt, 7, one) for one in [*steerings, None] for prompt in prompt_ids()]
    engine = ReferenceEngine(loaded_model(family), Decoding(), batch_size=3)
    found = [generation.token_ids for generation in engine.generate(requests)]
    with_actadd = requests[: -len(prompt_ids())]
    assert found[: len(with_actadd)] == [slow_answer(family, one) for one in with_actadd]
    assert found[len(with_actadd) :] != found[: len(prompt_ids())]


def test_no_strength_changes_no_bit():
    loaded = loaded_model("llama")
    ids = torch.tensor([[PAD, *prompt_ids()[1]]])
    mask = (ids != PAD).long()

    def logits(steering):
        with torch.no_grad(), steered(loaded, [steering], mask):
            return loaded.model(ids, attention_mask=mask).logits

    wild = torch.full_like(VECTORS, torch.inf)
    assert torch.equal(logits(PromptStartSteering(1, wild, 0.0)), logits(None))
    assert not torch.equal(logits(PromptStartSteering(1, VECTORS, 0.1)), logits(None))


def test_what_is_refused():
    one = PromptStartSteering(1, VECTORS, 1.0)
    with pytest.raises(ValueError, match="all steered alike"):
        alike([one, dataclasses.replace(one, alpha=2.0)])
    assert alike([None, ResidualSteering(1, direction(), 1.0)]) is None
    with pytest.raises(ValueError, match=r"is not \[positions, hidden\]"):
        PromptStartSteering(1, direction(), 1.0)
