"""Weights in 8 and 4 bits: what is asked for, and, where bitsandbytes is installed, what comes."""

import dataclasses
from importlib.util import find_spec

import pytest
import torch

from snakesteer.config import ModelConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.check import supports
from snakesteer.errors import UserError
from snakesteer.models import quantization
from snakesteer.models.loading import load_causal_lm
from snakesteer.models.quantization import quantization_arguments
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import prompt_ids
from tests.tiny_models import save_tiny_model

CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]


def section(kind, **values):
    return ModelConfig(name="some/model", quantization=kind, **values)


def test_none_asks_for_nothing():
    assert quantization_arguments(section("none"), CPU, torch.float32) == {}


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_without_the_package_it_is_explained(monkeypatch, tiny_llama_folder, kind):
    monkeypatch.setattr(quantization, "find_spec", lambda _name: None)
    model = section(kind).model_copy(update={"name": str(tiny_llama_folder)})
    with pytest.raises(UserError, match=f"'{kind}'.*bitsandbytes.*pip install bitsandbytes"):
        load_causal_lm(model)


def test_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda _name: object())
    eight = quantization_arguments(section("int8"), CPU, torch.float32)
    assert eight["device_map"] == {"": CPU}
    assert eight["quantization_config"].load_in_8bit
    four = quantization_arguments(section("nf4"), CPU, torch.bfloat16)["quantization_config"]
    assert four.load_in_4bit
    assert not four.load_in_8bit
    assert four.bnb_4bit_quant_type == "nf4"
    assert four.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("kind", "dtype", "error"), [("int8", torch.int8, 0.2), ("nf4", torch.uint8, 0.9)]
)
def test_a_quantised_model_is_near_the_plain_one_and_can_be_steered(
    tmp_path, kind, dtype, error, device
):
    folder = save_tiny_model(tmp_path, "llama", hidden_size=64)  # blocks of 4-bit weights hold 64
    plain, small = (
        load_causal_lm(
            ModelConfig(name=str(folder), dtype="float32", device=device, quantization=k)
        )
        for k in ("none", kind)
    )
    assert small.model.model.layers[0].mlp.up_proj.weight.dtype == dtype
    ids = torch.tensor([prompt_ids()[3]], device=device)
    with torch.no_grad():
        wanted, found = plain.model(ids).logits, small.model(ids).logits
    assert 0 < (found - wanted).norm() / wanted.norm() < error
    assert "quantised" in supports(small)

    engine = ReferenceEngine(small, Decoding(), 4)
    requests = [Request(prompt, 6) for prompt in prompt_ids()]
    steering = ResidualSteering(
        1, 3.0 * torch.randn(64, generator=torch.Generator().manual_seed(0)), 1.0
    )
    baseline = engine.generate(requests)
    steered = engine.generate([dataclasses.replace(r, steering=steering) for r in requests])
    zero = dataclasses.replace(steering, alpha=0.0)
    assert steered != baseline
    assert engine.generate([dataclasses.replace(r, steering=zero) for r in requests]) == baseline
