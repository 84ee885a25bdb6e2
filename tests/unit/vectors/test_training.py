"""Training a vector: gradients, what it learns, and what it may not do."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from snakesteer.errors import UserError
from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.residual import ResidualSteering
from snakesteer.vectors.training import Example, Recipe, _Texts, train
from tests.loaded_models import MAIN_FAMILIES, as_loaded, blocks_of, direction, loaded_model
from tests.planted import LAYER, letter_of, planted_model, token
from tests.tiny_models import EOS, HIDDEN, VOCABULARY

START = (5, 9, 12, 7)
STEP = 1e-5  # of finite differences
EXAMPLES = [
    Example((*START, 20, 21, 30, 31, EOS), 6),
    Example((*START, 22, 40, 41, 42, 43, 44, EOS), 5),
    Example((*START, 23, 24, 25, 50, EOS), 7),
]


def in_float64(family: str) -> LoadedModel:
    """A random-weight model in which finite differences mean something."""
    loaded = loaded_model(family)
    model = type(loaded.model)(loaded.model.config).eval()
    model.load_state_dict(loaded.model.state_dict())
    model = model.double()
    return dataclasses.replace(
        loaded, model=model, blocks=decoder_blocks(model), dtype=torch.float64
    )


def slow_loss(family, loaded, steering, vector):
    """Text by text, without cache, prefix and padding."""
    total, count = 0.0, 0
    for one in EXAMPLES:
        ids = torch.tensor([one.token_ids])
        steps = torch.arange(len(one.token_ids)) - (one.prompt_tokens - 1)
        where = torch.tensor(
            [steering.steers_step(int(s)) if s >= 0 else steering.steers_prompt for s in steps]
        )

        def add(_module, _inputs, output, where=where):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden + where[:, None] * vector
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = blocks_of(family, loaded.model)[steering.layer].register_forward_hook(add)
        logits = loaded.model(ids).logits[0, one.prompt_tokens - 1 : -1]
        handle.remove()
        total = total + cross_entropy(logits, ids[0, one.prompt_tokens :], reduction="sum")
        count += len(one.token_ids) - one.prompt_tokens
    return total, count


@pytest.mark.parametrize("family", MAIN_FAMILIES)
@pytest.mark.parametrize(
    ("scope", "first_k"), [("from_last_prompt_token", None), ("all", None), ("first_k", 2)]
)
def test_loss_and_gradient_are_those_of_a_slow_computation(family, scope, first_k):
    loaded = in_float64(family)
    steering = ResidualSteering(1, torch.zeros(0), 1.0, scope, first_k)
    texts = _Texts(loaded, EXAMPLES, steering)
    assert texts.prefix == (() if scope == "all" else START)
    vectors = [direction().double().requires_grad_() for _ in range(2)]
    loss, count = texts.loss(range(len(EXAMPLES)), vectors[0])
    wanted, wanted_count = slow_loss(family, loaded, steering, vectors[1])
    loss.backward()
    wanted.backward()
    assert count == wanted_count
    # Some families compute parts in float32, whatever their weights are.
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(vectors[0].grad, vectors[1].grad, rtol=1e-4, atol=1e-5)


def test_the_gradient_against_finite_differences():
    # GPT-2 computes all of it in float64, where others go through float32.
    loaded = in_float64("gpt2")
    steering = ResidualSteering(2, torch.zeros(0), 1.0)
    texts = _Texts(loaded, EXAMPLES, steering)
    vector = direction().double().requires_grad_()
    texts.loss(range(len(EXAMPLES)), vector)[0].backward()
    for axis in (0, 7, HIDDEN - 1):
        ends = []
        for sign in (1, -1):
            moved = vector.detach().clone()
            moved[axis] += sign * STEP
            with torch.no_grad():
                ends.append(float(slow_loss("gpt2", loaded, steering, moved)[0]))
        slope = (ends[0] - ends[1]) / (2 * STEP)
        assert float(vector.grad[axis]) == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_no_weight_changes_and_no_graph_is_kept_below_the_block():
    loaded = loaded_model("llama")
    before = {name: p.clone() for name, p in loaded.model.named_parameters()}
    seen = {}

    def look(layer):
        def hook(_module, _inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            seen.setdefault(layer, set()).add(hidden.requires_grad)

        return hook

    handles = [
        block.register_forward_hook(look(layer), prepend=True)
        for layer, block in enumerate(loaded.blocks)
    ]
    vector, _ = train(loaded, EXAMPLES, 2, Recipe(epochs=1, held_out=0.0))
    for handle in handles:
        handle.remove()
    assert (vector.direction, vector.layer, vector.raw.shape) == ("trained", 2, (HIDDEN,))
    assert vector.raw.dtype == np.float32
    assert seen[0] == seen[1] == {False}
    assert True in seen[3]
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad
        assert parameter.grad is None


def test_a_planted_model_learns_to_answer():
    """It says a wrong number a little louder; one vector turns every answer that it can turn."""
    loaded = as_loaded(planted_model("helps"))
    numbers = range(2, 10)
    examples = [
        Example((token("x"), token(letter_of(n)), token(str(n)), EOS), 2)
        for n in numbers
        for _ in range(4)
    ]

    def right(raw):
        def add(_module, _inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden + torch.from_numpy(raw)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = loaded.blocks[LAYER].register_forward_hook(add)
        ids = torch.tensor([[token("x"), token(letter_of(n))] for n in numbers])
        with torch.no_grad():
            said = loaded.model(ids).logits[:, -1].argmax(dim=-1).tolist()
        handle.remove()
        return [VOCABULARY[one] for one in said] == [str(n) for n in numbers]

    recipe = Recipe(epochs=20, learning_rate=0.05, held_out=0.25, max_dose=2.0)
    vector, epochs = train(loaded, examples, LAYER, recipe)
    assert not right(np.zeros_like(vector.raw))
    assert right(vector.raw)
    assert min(e.held_out_loss for e in epochs) < 0.9 * epochs[0].held_out_loss


def test_the_same_seed_gives_the_same_bits():
    loaded = loaded_model("gpt2")
    examples = [*EXAMPLES] * 4
    recipe = Recipe(epochs=2, batch_tokens=24)
    (one, first), (two, second) = (train(loaded, examples, 1, recipe) for _ in range(2))
    assert np.array_equal(one.raw, two.raw)
    assert first == second
    other, _ = train(loaded, examples, 1, dataclasses.replace(recipe, seed=1))
    assert not np.array_equal(one.raw, other.raw)


def test_the_best_epoch_on_held_out_examples_is_taken():
    """A wild learning rate makes it worse: the vector is then no vector."""
    loaded = loaded_model("llama")
    recipe = Recipe(epochs=3, held_out=0.34, learning_rate=2.0, max_dose=50.0)
    vector, epochs = train(loaded, EXAMPLES, 1, recipe)
    losses = [one.held_out_loss for one in epochs]
    assert len(losses) == 4
    assert vector.raw.any() == (losses.index(min(losses)) > 0)


def test_the_first_step_is_as_long_as_the_rate_says():
    loaded = loaded_model("llama")
    recipe = Recipe(epochs=1, held_out=0.0, learning_rate=0.02)
    vector, [_, epoch] = train(loaded, EXAMPLES, 1, recipe)  # one batch
    assert epoch.dose == pytest.approx(0.02, rel=1e-3)
    assert vector.dose(1.0) == pytest.approx(0.02, rel=1e-3)


def test_a_vector_is_no_longer_than_its_cap():
    loaded = loaded_model("llama")
    free, _ = train(loaded, EXAMPLES, 1, Recipe(epochs=3, held_out=0.0, learning_rate=0.05))
    recipe = Recipe(epochs=3, held_out=0.0, learning_rate=0.05, max_dose=0.02)
    vector, epochs = train(loaded, EXAMPLES, 1, recipe)
    assert free.dose(1.0) > 0.03
    assert vector.dose(1.0) == pytest.approx(0.02, rel=1e-4)
    assert [one.dose for one in epochs[1:]] == pytest.approx([0.02] * 3, rel=1e-4)


def test_what_cannot_be_learned_is_refused():
    loaded = loaded_model("llama")
    for examples in ([], [Example((5, 6), 2)], [Example((5, 6), 0)]):
        with pytest.raises(UserError, match="nothing to learn"):
            train(loaded, examples, 1, Recipe())
    with pytest.raises(UserError, match="none is left to learn"):
        train(loaded, EXAMPLES, 1, Recipe(held_out=1.0))
    with pytest.raises(UserError, match="no hook point for layer 9"):
        train(loaded, EXAMPLES, 9, Recipe())


def test_a_loss_that_is_not_finite_names_the_step(monkeypatch):
    loaded = loaded_model("llama")
    monkeypatch.setattr(
        _Texts, "loss", lambda self, batch, vector: (vector.sum() * torch.nan, len(batch))
    )
    with pytest.raises(UserError, match="nan in step 1 of epoch 1") as caught:
        train(loaded, EXAMPLES, 1, Recipe(held_out=0.0))
    assert "learning rate" in caught.value.remedy
