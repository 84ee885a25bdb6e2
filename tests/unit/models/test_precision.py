"""A model in float32 for a while, and the distance between logits."""

import dataclasses
import math

import pytest
import torch

from snakesteer.models import precision
from snakesteer.models.precision import converts, in_float32, logits_error
from tests.loaded_models import as_loaded
from tests.tiny_models import tiny_model

IDS = torch.tensor([[5, 9, 14, 23, 42]])


def reduced(family: str, dtype: torch.dtype = torch.bfloat16):
    model = tiny_model(family).to(dtype)
    return dataclasses.replace(as_loaded(model), dtype=dtype)


@pytest.mark.parametrize("kept_bytes", [0, 20_000, 2**30])
@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "gemma2", "opt-350m", "gemma3"])
@torch.no_grad()
def test_logits_are_those_of_a_float32_model(monkeypatch, family: str, kept_bytes: int):
    monkeypatch.setattr(precision, "_KEPT_BYTES", kept_bytes)
    loaded = reduced(family)
    narrow = loaded.model(IDS, use_cache=False).logits
    with in_float32(loaded) as wide:
        assert wide.dtype == torch.float32
        found = [wide.model(IDS, use_cache=False).logits for _ in range(2)]
    assert torch.equal(loaded.model(IDS, use_cache=False).logits, narrow)
    wanted = loaded.model.float()(IDS, use_cache=False).logits
    assert narrow.dtype == torch.bfloat16
    for one in found:
        assert torch.equal(one, wanted)


def test_converted_weights_are_given_back_block_by_block(monkeypatch):
    monkeypatch.setattr(precision, "_KEPT_BYTES", 0)
    loaded = reduced("llama")
    seen = []

    def look(*_):
        dtypes = [next(block.parameters()).dtype for block in loaded.blocks]
        seen.append([dtype == torch.float32 for dtype in dtypes])

    with in_float32(loaded), torch.no_grad():
        for block in loaded.blocks:
            block.mlp.register_forward_hook(look)
        loaded.model(IDS, use_cache=False)
    assert torch.equal(torch.tensor(seen), torch.eye(len(loaded.blocks), dtype=torch.bool))


def test_weights_are_given_back_behind_an_error():
    loaded = reduced("llama")
    weight = loaded.blocks[0].mlp.up_proj.weight
    loaded.blocks[0].mlp.register_forward_hook(lambda *_: 1 / 0)
    with in_float32(loaded), pytest.raises(ZeroDivisionError):
        loaded.model(IDS, use_cache=False)
    assert loaded.blocks[0].mlp.up_proj.weight is weight
    assert weight.dtype == torch.bfloat16


def test_what_cannot_be_converted():
    loaded = reduced("llama")
    assert converts(loaded)
    loaded.model.quantization_method = "bitsandbytes"
    assert not converts(loaded)
    other = reduced("llama")
    other.model.lm_head.to("meta")
    assert not converts(other)


def test_the_distance_of_logits():
    wanted = torch.tensor([[3.0, -1.0, -2.0], [1.0, 2.0, -3.0]])
    assert logits_error(wanted + 7.0, wanted) < 1e-6
    assert logits_error(wanted * torch.tensor([[1.0], [1.1]]), wanted) == pytest.approx(0.1)
    ruled_out = wanted.clone()
    ruled_out[:, 0] = -torch.inf
    assert logits_error(ruled_out, ruled_out) == 0.0
    assert logits_error(wanted, ruled_out) == math.inf
    assert math.isnan(logits_error(wanted.masked_fill(wanted == 2.0, math.nan), wanted))
    flat = torch.zeros(1, 3)
    assert logits_error(flat, flat) == 0.0
    assert logits_error(torch.tensor([[1.0, 0.0, 0.0]]), flat) == torch.inf
