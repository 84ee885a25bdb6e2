"""The tokens of top-p without a sort are those that a sort gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snakesteer.steering.nucleus import by_bisection, lowest_ids, nucleus
from tests.numpy_dac import numpy_top_p

WAYS = pytest.mark.parametrize("find", [nucleus, by_bisection])


def by_sorting(probability, mass):
    """The definition: likeliest first, of equal ones the lower id, until the mass is reached."""
    ordered, ids = probability.double().sort(dim=-1, descending=True, stable=True)
    kept = (ordered.cumsum(-1) - ordered < mass.double()[:, None]) & (ordered > 0)
    return torch.zeros_like(probability, dtype=torch.bool).scatter(-1, ids, kept)


def same_up_to_rounding(found, probability, mass):
    """Equal to the definition at a mass that is a hair smaller or larger, row by row."""
    hair = 3e-6
    for row, its, p in zip(found, mass, probability, strict=True):
        either = [by_sorting(p[None], its[None] + by)[0] for by in (0.0, -hair, hair)]
        if not any(torch.equal(row, one) for one in either):
            # A mass near 1 ends among tokens that are nothing, where every hair is another set.
            assert (either[1] & ~row).sum() == 0
            assert (row & ~either[2]).sum() == 0
            assert p[row ^ either[0]].sum() < 2 * hair


@WAYS
@pytest.mark.parametrize(
    ("mass", "expected"),
    [
        (0.01, [1]),  # never empty
        (0.49, [1]),
        (0.51, [1, 2]),  # the token that crosses is kept
        (0.79, [1, 2]),
        (0.81, [0, 1, 2]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_the_crossing_token_is_kept(find, mass, expected):
    probability = torch.tensor([[0.15, 0.5, 0.3, 0.05]])
    kept = find(probability, torch.tensor([mass]))
    assert kept[0].nonzero().flatten().tolist() == expected


@WAYS
def test_rows_have_their_own_mass(find):
    probability = torch.tensor([0.15, 0.5, 0.3, 0.05]).repeat(2, 1)
    assert find(probability, torch.tensor([0.2, 0.9])).sum(-1).tolist() == [1, 3]


@WAYS
def test_of_equal_tokens_the_lower_ids_are_kept(find):
    probability = torch.tensor([[0.125, 0.25, 0.125, 0.125, 0.25, 0.125]])
    for mass, wanted in [(0.2, [1]), (0.5, [1, 4]), (0.51, [0, 1, 4]), (0.8, [0, 1, 2, 3, 4])]:
        kept = find(probability, torch.tensor([mass]))
        assert kept[0].nonzero().flatten().tolist() == wanted


@WAYS
def test_numbers_that_are_none_give_an_empty_row_and_leave_the_others(find):
    probability = torch.tensor([[torch.nan] * 3, [0.2, 0.0, 0.8]])
    kept = find(probability, torch.tensor([0.9, 1.0]))
    assert kept.tolist() == [[False] * 3, [True, False, True]]


@WAYS
@pytest.mark.parametrize("vocab", [1, 2, 37, 3000])
@pytest.mark.parametrize("scale", [0.0, 0.3, 3.0, 30.0])
def test_it_is_what_sorting_every_token_gives_ties_included(find, vocab, scale):
    generator = torch.Generator().manual_seed(vocab)
    logits = torch.randn(8, vocab, generator=generator) * scale
    logits = logits.bfloat16().float()  # many equal ones
    logits[0, 1:] = -torch.inf
    mass = torch.tensor([0.3, 1.0, 0.01, 0.2, 0.5, 0.8, 0.95, 0.999])
    probability = logits.softmax(-1)
    same_up_to_rounding(find(probability, mass), probability, mass)


@WAYS
@given(
    st.lists(st.integers(-256, 256).map(lambda n: n / 32), min_size=1, max_size=40),
    st.floats(0.02, 1.0),
)
def test_any_row(find, logits, mass):
    probability, mass = torch.tensor([logits]).softmax(-1), torch.tensor([mass])
    same_up_to_rounding(find(probability, mass), probability, mass)


@given(st.lists(st.integers(-64, 64).map(lambda n: n / 16), min_size=1, max_size=20, unique=True))
def test_the_definition_is_that_of_plain_numpy(logits):
    probability = torch.tensor([logits]).softmax(-1)
    chosen, margin = numpy_top_p(probability[0].double().numpy(), 0.7)
    kept = by_sorting(probability, torch.tensor([0.7], dtype=torch.float64))
    assert margin < 1e-6 or set(np.flatnonzero(kept[0])) == chosen


def test_lowest_ids():
    among = torch.tensor([[True, False, True, True], [False, True, True, True]])
    kept = lowest_ids(among, torch.tensor([[2], [0]]))
    assert kept.tolist() == [[True, False, True, False], [False] * 4]
