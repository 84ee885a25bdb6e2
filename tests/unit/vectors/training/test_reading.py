"""What is kept and skipped changes nothing: against one text at a time, all of it computed."""

import pytest
import torch

from snakesteer.errors import UserError
from snakesteer.steering.positions import DEFAULT_POSITIONS, Positions
from snakesteer.vectors.training import reading
from snakesteer.vectors.training.gradients import frozen
from snakesteer.vectors.training.lessons import Example
from snakesteer.vectors.training.loop import steering_at
from snakesteer.vectors.training.reading import NOT_LEARNED, BatchReader
from tests.loaded_models import MAIN_FAMILIES, direction, loaded_model
from tests.tiny_models import HIDDEN
from tests.unit.vectors.training.cases import EXAMPLES, START, in_float64, slow_logits

SCOPES = [
    Positions(),
    Positions("all"),
    Positions("first_k", 2),
    Positions("generated_only"),
    Positions("generated_window", window=(1, 2)),
    Positions("outside_generated_window", window=(1, 2)),
    Positions("at_tokens", tokens=(21, 30, 41, 43, 52)),
    Positions("not_at_tokens", tokens=(21, 30, 41, 43, 52)),
]


def at(layers, positions=DEFAULT_POSITIONS):
    return steering_at(layers, None, positions)


def learned_logits(reader, batch, vectors):
    logits = reader.logits(batch, vectors)
    return [row[own != NOT_LEARNED] for row, own in zip(logits, batch.labels, strict=True)]


@pytest.mark.parametrize("family", [*MAIN_FAMILIES, "gemma2", "mistral", "gemma3_text", "opt"])
@pytest.mark.parametrize("positions", SCOPES, ids=lambda one: one.scope)
def test_logits_and_gradients_are_those_of_a_slow_computation(family, positions):
    loaded = in_float64(family)
    steering = at((1, 2), positions)
    reader = BatchReader(loaded, EXAMPLES, steering)
    assert reader.prefix == (() if positions.scope == "all" else START)
    vectors = [
        torch.stack([direction(0), direction(1)]).double().requires_grad_() for _ in range(2)
    ]
    for _ in range(2):  # the second time, from what was kept
        batch = reader.batch(range(len(EXAMPLES)))
        found = learned_logits(reader, batch, vectors[0])
        for row, example in zip(found, EXAMPLES, strict=True):
            wanted = slow_logits(family, loaded, steering, example, vectors[1])
            # Some families compute parts in float32, whatever their weights are.
            torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-4)
    torch.cat([row.square().flatten() for row in found]).sum().backward()
    total = sum(
        slow_logits(family, loaded, steering, example, vectors[1]).square().sum()
        for example in EXAMPLES
    )
    total.backward()
    torch.testing.assert_close(vectors[0].grad, vectors[1].grad, rtol=1e-3, atol=1e-3)


def test_questions_are_read_once_where_no_window_is_in_the_way():
    assert not BatchReader(loaded_model("llama"), EXAMPLES, at([1])).whole
    assert BatchReader(loaded_model("llama"), EXAMPLES, at([1], Positions("all"))).whole
    # A window of 16 columns would see padding in place of tokens.
    assert BatchReader(loaded_model("mistral"), EXAMPLES, at([1])).whole
    alone = [Example(one.token_ids[4:], one.prompt_tokens - 4) for one in EXAMPLES]
    assert BatchReader(loaded_model("llama"), alone[:3], at([1])).whole  # nothing in common


def test_lower_blocks_and_prompts_are_not_computed_again():
    loaded = loaded_model("llama")
    reader = BatchReader(loaded, EXAMPLES, at([2]))
    batch = reader.batch([0, 1])
    assert batch is reader.batch([0, 1])
    assert batch.ids.shape == (2, 6)  # from the last prompt token to the last but one
    ran = []
    handles = [
        block.self_attn.register_forward_hook(lambda m, i, o, n=number: ran.append(n))
        for number, block in enumerate(loaded.blocks)
    ]
    reader.logits(batch, torch.zeros(1, 32))
    for handle in handles:
        handle.remove()
    assert ran == [3]
    assert all("forward" not in block.__dict__ for block in loaded.blocks)


def test_batches_that_find_no_room_are_made_anew(monkeypatch):
    monkeypatch.setattr(reading, "_KEPT_BYTES", 0)
    reader = BatchReader(loaded_model("llama"), EXAMPLES, at([1]))
    first, second = (reader.batch([0, 1]) for _ in range(2))
    assert first is not second
    vectors = direction()[None]
    assert torch.equal(reader.logits(first, vectors), reader.logits(second, vectors))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neo", "gpt_neox"])
def test_computing_activations_twice_changes_nothing(family, monkeypatch):
    loaded = loaded_model(family)
    found = []
    for budget in (2**32, 0):
        monkeypatch.setattr(reading, "_GRAPH_BYTES", budget)
        reader = BatchReader(loaded, EXAMPLES, at([0, 1]))
        vectors = torch.stack([direction(0), direction(1)]).requires_grad_()
        with frozen(loaded):
            logits = reader.logits(reader.batch([0, 1, 2]), vectors)
            logits.square().sum().backward()
        found.append((logits.detach(), vectors.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-4)


def test_norms_and_sums_are_those_of_the_unsteered_stream():
    loaded = loaded_model("llama")
    reader = BatchReader(loaded, EXAMPLES, at([1, 2]))
    norms, sums, count = reader.residual_sums(reader.batch([0, 2]))
    wanted, total = torch.zeros(2), torch.zeros(2, HIDDEN)
    for one in (EXAMPLES[0], EXAMPLES[2]):
        with torch.no_grad():
            states = loaded.model(torch.tensor([one.token_ids]), output_hidden_states=True)
        learned = slice(one.prompt_tokens - 1, -1)
        at_layers = torch.stack([states.hidden_states[layer + 1][0, learned] for layer in (1, 2)])
        wanted += at_layers.norm(dim=-1).sum(dim=-1)
        total += at_layers.sum(dim=1)
    assert count == sum(len(EXAMPLES[i].token_ids) - EXAMPLES[i].prompt_tokens for i in (0, 2))
    torch.testing.assert_close(norms.float(), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sums.float(), total, rtol=1e-4, atol=1e-4)


def test_weights_want_no_gradient_while_a_vector_learns():
    loaded = loaded_model("gpt2")
    with frozen(loaded):
        assert not any(p.requires_grad for p in loaded.model.parameters())
    assert all(p.requires_grad for p in loaded.model.parameters())


def test_tokens_that_the_model_lacks_are_refused():
    with pytest.raises(UserError):
        BatchReader(loaded_model("llama"), [Example((5, 6, 99_999), 2)], at([1]))
