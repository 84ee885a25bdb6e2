"""Weights that lie in several places: hooks see and change what a model in one place has."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from snakesteer.config import ModelConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.check import supports
from snakesteer.errors import UserError
from snakesteer.models import loading
from snakesteer.models.loading import load_causal_lm
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from snakesteer.vectors.capture import Text, capture
from tests.loaded_models import direction, loaded_model, prompt_ids
from tests.tiny_models import save_tiny_model

# Where the parts of a tiny Llama lie; what lies on the disk is on no device until it is needed.
PARTS = ("embed_tokens", "rotary_emb", *(f"layers.{layer}" for layer in range(4)), "norm")
PLACES = {f"model.{part}": "cpu" for part in PARTS} | {"lm_head": "disk"}


@pytest.fixture(params=["middle", "start"])
def places(request, monkeypatch):
    """What `device_map: auto` decides, as on a machine that lacks memory."""
    away = {"middle": ("layers.1", "layers.3"), "start": ("embed_tokens", "layers.0")}
    chosen = PLACES | {f"model.{part}": "disk" for part in away[request.param]}
    original = AutoModelForCausalLM.from_pretrained

    def from_pretrained(name, *, device_map, **others):
        assert device_map == "auto"
        return original(name, device_map=chosen, **others)

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", from_pretrained)


def section(folder):
    return ModelConfig(name=str(folder), dtype="float32", device="cpu", device_map="auto")


def test_offloaded_layers_are_read_and_steered_like_others(tiny_llama_folder, places):
    loaded, whole = load_causal_lm(section(tiny_llama_folder)), loaded_model("llama")
    assert {p.device.type for p in loaded.model.parameters()} == {"cpu", "meta"}
    assert loaded.device.type == "cpu"
    texts = [Text(ids, (0, len(ids)), (0, len(ids))) for ids in prompt_ids()]
    for one, other in zip(
        capture(loaded, texts, [0, 1, 3], 64), capture(whole, texts, [0, 1, 3], 64), strict=True
    ):
        assert one[0] == other[0]
        for layer in (0, 1, 3):
            assert all(map(torch.equal, one[1][layer], other[1][layer]))
    dac = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=3.0, probe_alpha=2.0)
    requests = [
        Request(prompt, 6, ResidualSteering(layer, direction(layer), 1.5, dac=how))
        for prompt in prompt_ids()
        for layer in (0, 1, 2)
        for how in (None, dac)
    ]
    requests += [dataclasses.replace(request, steering=None) for request in requests[::6]]
    answers = [ReferenceEngine(one, Decoding(), 4).generate(requests) for one in (loaded, whole)]
    assert answers[0] == answers[1]
    assert "several devices" in supports(loaded)


def test_offloaded_numbers_that_are_not_finite_are_found(tmp_path, places):
    folder = save_tiny_model(tmp_path, "llama")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"not finite.*lm_head\.weight"):
        load_causal_lm(section(folder))
