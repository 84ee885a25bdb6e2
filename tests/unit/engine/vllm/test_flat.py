"""Which tokens of a flattened batch are steered, against a loop over texts and positions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.engine.vllm.flat import FlatBatch, FlatStep, flat_steering
from snakesteer.steering.operators import OPERATORS, apply_operator
from snakesteer.steering.residual import Place, ResidualSteering

CPU = torch.device("cpu")
WIDTH, VOCABULARY = 6, 10
EVEN = torch.arange(VOCABULARY) % 2 == 0


def vector(seed: int) -> torch.Tensor:
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


# A steering, its table, and by hand: (step, token) → is it steered?
CASES = {
    "from_last": (ResidualSteering(1, vector(0), 1.0), None, lambda step, token: step >= 0),
    "all": (ResidualSteering(1, vector(1), 2.0, scope="all"), None, lambda step, token: True),
    "generated": (
        ResidualSteering(1, vector(2), -1.0, scope="generated_only"),
        None,
        lambda step, token: step >= 1,
    ),
    "last": (
        ResidualSteering(1, vector(3), 1.0, scope="last_prompt_token"),
        None,
        lambda step, token: step == 0,
    ),
    "first_k": (
        ResidualSteering(1, vector(4), 1.0, scope="first_k", first_k=3),
        None,
        lambda step, token: 0 <= step < 3,
    ),
    "window": (
        ResidualSteering(1, vector(5), 1.0, scope="generated_window", window=(1, 3)),
        None,
        lambda step, token: step in (2, 3),
    ),
    "outside": (
        ResidualSteering(1, vector(6), 1.0, scope="outside_generated_window", window=(1, 3)),
        None,
        lambda step, token: step >= 1 and step not in (2, 3),
    ),
    "tokens": (
        ResidualSteering(1, vector(7), 1.0, scope="at_tokens", tokens=(0, 2, 4, 6, 8)),
        EVEN,
        lambda step, token: step >= 1 and token % 2 == 0,
    ),
    "none": (None, None, lambda step, token: False),
}


def batch_of(names, prompts):
    flat = {
        name: None if CASES[name][0] is None else flat_steering(*CASES[name][:2]) for name in CASES
    }
    return FlatBatch([flat[name] for name in names], prompts, CPU)


requests = st.lists(
    st.tuples(
        st.sampled_from([*CASES]),
        st.integers(1, 6),  # tokens of the prompt
        st.integers(0, 9),  # where it stands
        st.integers(1, 7),  # tokens that it reads
    ),
    min_size=1,
    max_size=6,
)


@given(requests, st.integers(0, 1000))
def test_the_same_tokens_as_text_by_text(rows, seed):
    """Whatever part of prompt and answer a request reads, and whoever stands before it."""
    names, prompts, starts, counts = (list(column) for column in zip(*rows, strict=True))
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, sum(counts))
    tokens, owners = batch_of(names, prompts).steered(starts, counts, lambda: ids)
    wanted = []
    for row, (name, prompt, start, count) in enumerate(rows):
        for within in range(count):
            at = sum(counts[:row]) + within
            if CASES[name][2](start + within - (prompt - 1), int(ids[at])):
                wanted.append((at, row))
    assert [*zip(tokens.tolist(), owners.tolist(), strict=True)] == wanted


def test_ids_are_only_read_for_scopes_by_token():
    def read():
        raise AssertionError("a look at the device's ids, which makes it wait")

    batch_of(["all", "none", "from_last"], [3, 3, 3]).steered([0, 0, 2], [3, 3, 1], read)


def a_step(steerings, tokens, owners):
    flat = [None if one is None else flat_steering(one, None) for one in steerings]
    return FlatStep(FlatBatch(flat, [1] * len(flat), CPU), np.array(tokens), np.array(owners))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("in_two", [False, True])
def test_a_steered_token_is_what_the_operator_makes_of_the_stream(operator, in_two):
    axis = vector(9) if operator == "rotate" else None
    one = ResidualSteering(1, vector(1), 0.7, operator=operator, axis=axis)
    other = ResidualSteering(1, vector(2), -0.4)
    hidden, residual = torch.randn(5, WIDTH), torch.randn(5, WIDTH)
    step = a_step([one, other, None], [0, 2, 3], [0, 0, 1])
    found, rest = step.change(1, hidden, residual if in_two else None)
    assert (rest is not None) == in_two
    before = hidden + residual if in_two else hidden
    after = found if rest is None else found + rest
    for token, steering in ((0, one), (2, one), (3, other)):
        wanted = apply_operator(
            steering.operator,
            before[token],
            steering.vector,
            torch.tensor(steering.alpha),
            steering.axis,
        )
        assert torch.equal(after[token], wanted)
    for token in (1, 4):  # not even rounded anew
        assert torch.equal(found[token], hidden[token])
        assert rest is None or torch.equal(rest[token], residual[token])


def test_what_the_block_returned_is_not_written_to():
    hidden, residual = torch.randn(2, WIDTH), torch.randn(2, WIDTH)
    copies = hidden.clone(), residual.clone()
    a_step([ResidualSteering(1, vector(1), 1.0)], [0, 1], [0, 0]).change(1, hidden, residual)
    assert torch.equal(hidden, copies[0])
    assert torch.equal(residual, copies[1])


def test_other_layers_are_left_alone_and_bands_have_their_own_vectors():
    band = ResidualSteering(0, vector(1), 1.0, more=(Place(2, vector(2), 3.0),))
    step = a_step([band, ResidualSteering(1, vector(3), 1.0)], [0, 1], [0, 1])
    hidden = torch.zeros(2, WIDTH)
    changes = [step.change(layer, hidden, None)[0] for layer in range(3)]
    assert torch.allclose(changes[0], torch.stack([vector(1), hidden[0]]))
    assert torch.allclose(changes[1], torch.stack([hidden[0], vector(3)]))
    assert torch.allclose(changes[2], torch.stack([3.0 * vector(2), hidden[0]]))
    assert [step.steers(layer) for layer in range(4)] == [True, True, True, False]


def test_strength_0_changes_no_bit_of_either_summand():
    off = ResidualSteering(1, vector(1), 1.0).off
    hidden, residual = torch.randn(1, WIDTH), torch.randn(1, WIDTH)
    found, rest = a_step([off], [0], [0]).change(1, hidden, residual)
    assert found is hidden
    assert rest is residual


def test_requests_of_one_steering_share_its_vector():
    flat = flat_steering(ResidualSteering(1, vector(1), 1.0), None)
    other = flat_steering(replace(ResidualSteering(1, vector(2), 1.0), alpha=0.5), None)
    [part] = FlatBatch([flat, other, flat, None], [1] * 4, CPU).layers[1]
    assert part.vectors.shape == (2, WIDTH)
    assert part.which.tolist() == [0, 1, 0, 0]
    assert part.members.tolist() == [True, True, True, False]
