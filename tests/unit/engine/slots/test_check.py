"""Which models the slots engine runs, and what happens to those that it does not."""

import dataclasses
import logging
import re

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.select import engine_record, make_engine, worth_compiling
from snakesteer.engine.slots.check import supports
from snakesteer.models.blocks import decoder_blocks
from tests.loaded_models import as_loaded, loaded_model, prompt_ids
from tests.tiny_models import FAMILIES, VOCABULARY, tiny_model

GREEDY = Decoding()


def other_model(model_type, **config):
    """A tiny model of a family that the rest of the tests do not use."""
    config = AutoConfig.for_model(model_type, vocab_size=len(VOCABULARY), **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return dataclasses.replace(loaded_model("llama"), model=model, blocks=decoder_blocks(model))


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MAMBA_TOO = SMALL | {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": [1]}
OTHER_HEADS = SMALL | {
    "head_dim": 8,
    "global_head_dim": 16,
    "layer_types": ["sliding_attention", "full_attention"],
    "vocab_size_per_layer_input": len(VOCABULARY),
    "hidden_size_per_layer_input": 8,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_supported_families(family):
    assert supports(loaded_model(family)) is None


def test_what_is_refused_is_answered_by_the_reference(caplog, monkeypatch):
    loaded = as_loaded(tiny_model("llama"))
    monkeypatch.setattr(loaded.model, "_can_set_attn_implementation", lambda: False)
    assert "exchangeable" in supports(loaded)
    with caplog.at_level(logging.WARNING):
        engine = make_engine("slots", loaded, GREEDY, batch_size=3)
    assert isinstance(engine, ReferenceEngine)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "LlamaForCausalLM" in caplog.text
    requests = [Request(prompt, 5) for prompt in prompt_ids()]
    assert engine.generate(requests) == ReferenceEngine(loaded, GREEDY, 3).generate(requests)


@pytest.mark.parametrize(
    ("model_type", "config", "reason"),
    [
        ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "keys and values"),
        ("bamba", MAMBA_TOO, "keep a state, in place of keys and values|has_previous_state"),
        ("gemma4_text", OTHER_HEADS, "keys and values of its layers differ in shape"),
        ("openai-gpt", {"n_embd": 32, "n_layer": 2, "n_head": 4}, "exchangeable|are not kept"),
    ],
)
def test_foreign_architectures_are_refused(model_type, config, reason):
    """State that is not keys and values, some or all; heads of two widths; no cache.

    What is found first depends on the version of transformers.
    """
    assert re.search(reason, supports(other_model(model_type, **config)))


def test_a_config_that_allows_no_other_padding_is_no_obstacle():
    """ModernBERT's decoder (Ettin): its config checks that a padding id is a number."""
    loaded = other_model("modernbert-decoder", pad_token_id=0, **SMALL)
    assert supports(loaded) is None
    assert isinstance(loaded.model.config.pad_token_id, int)


def test_weights_on_several_devices_are_refused():
    loaded = other_model("llama", hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    loaded.model.lm_head.to("meta")
    assert "several devices" in supports(loaded)


@pytest.mark.parametrize(("experts", "refused"), [(16, False), (17, True)])
def test_a_mixture_of_many_more_experts_than_are_used_is_refused(experts, refused):
    loaded = other_model("mixtral", num_local_experts=experts, num_experts_per_tok=1, **SMALL)
    reason = supports(loaded)
    assert ("uses 1 of its 17 experts" in reason) if refused else reason is None


def test_experts_that_cannot_be_replaced_are_refused(monkeypatch):
    """Gathered rows: a row's last bits would depend on its neighbours."""
    loaded = other_model("mixtral", num_local_experts=3, **SMALL)
    monkeypatch.setattr(type(loaded.model), "_can_set_experts_implementation", lambda *_: False)
    assert "experts see all rows" in supports(loaded)


def test_engines_are_chosen_by_name():
    loaded = loaded_model("llama")
    slots = make_engine("slots", loaded, GREEDY, batch_size=3, slots=5, shared_prefix=(1, 2))
    assert engine_record(slots) == {
        "engine": "slots",
        "slots": 5,
        "compiled": False,
        "shared_prefix_tokens": 2,
        "attention": "blocks",
    }
    reference = make_engine("reference", loaded, GREEDY, batch_size=3)
    assert engine_record(reference) == {"engine": "reference", "batch_size": 3}


def test_compiling_is_decided_by_setting_device_and_work():
    loaded = loaded_model("llama")
    assert worth_compiling("always", loaded, 1)
    assert not worth_compiling("never", loaded, 10**15)
    assert not worth_compiling("auto", loaded, 10**15)
    on_gpu = dataclasses.replace(loaded, device=torch.device("cuda"))
    assert not worth_compiling("auto", on_gpu, 10**6)
    assert worth_compiling("auto", on_gpu, 10**15)
