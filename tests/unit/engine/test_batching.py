"""Prompts as rectangles, and requests that cannot fit."""

import dataclasses

import pytest
import torch

from snakesteer.engine.batching import check_lengths, left_pad
from snakesteer.engine.interface import Request
from snakesteer.errors import UserError
from tests.loaded_models import loaded_model


def loaded(context=10, pad_id=9):
    return dataclasses.replace(loaded_model("llama"), context=context, pad_id=pad_id)


def test_left_pad():
    ids, mask = left_pad(loaded(), [(4,), (5, 6, 7), (8, 9)])
    assert ids.tolist() == [[9, 9, 4], [5, 6, 7], [9, 8, 9]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1], [0, 1, 1]]
    assert ids.dtype == mask.dtype == torch.int64


def test_what_fits():
    check_lengths(loaded(), [])
    check_lengths(loaded(), [Request((5,) * 7, 3), Request((5,), 9)])
    check_lengths(loaded(context=None), [Request((5,) * 1000, 1000)])


def test_the_largest_request_is_named():
    requests = [Request((5,) * 9, 2), Request((5,) * 4, 20), Request((5,) * 8, 3)]
    with pytest.raises(UserError, match=r"4 tokens and 20 new tokens .* context of 10") as error:
        check_lengths(loaded(), requests)
    assert "generation.max_new_tokens" in error.value.remedy


def test_an_empty_prompt_is_refused():
    with pytest.raises(UserError, match=r"prompt is empty.*prompt\.template"):
        check_lengths(loaded(), [Request((5,), 1), Request((), 1)])
