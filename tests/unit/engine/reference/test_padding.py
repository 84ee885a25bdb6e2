"""A model that takes padding for text is not given batches."""

import dataclasses

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.padding import check_padding
from snakesteer.engine.select import make_engine
from snakesteer.errors import UserError
from tests.loaded_models import as_loaded, loaded_model, prompt_ids
from tests.tiny_models import ALL_FAMILIES, VOCABULARY


@pytest.fixture(scope="module")
def counting():
    """A decoder that counts positions from the beginning of the batch, whatever the mask says."""
    sizes = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "init_std": 0.5}
    sizes |= {"encoder_layers": 2, "decoder_ffn_dim": 32, "vocab_size": len(VOCABULARY)}
    config = AutoConfig.for_model("bart", **sizes)
    torch.manual_seed(0)
    return as_loaded(AutoModelForCausalLM.from_config(config).eval())


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_padding_is_masked(family):
    check_padding(loaded_model(family))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_masked_is_refused_with_a_remedy(counting, dtype):
    model = dataclasses.replace(counting, model=counting.model.to(dtype), dtype=dtype)
    with pytest.raises(UserError, match="BartForCausalLM takes the padding") as refusal:
        make_engine("slots", model, Decoding(), batch_size=4)
    assert refusal.value.remedy == "Set engine.batch_size: 1."
    counting.model.float()


def test_one_text_at_a_time_has_none(counting):
    engine = make_engine("reference", counting, Decoding(), batch_size=1)
    requests = [Request(ids, 4) for ids in prompt_ids()]
    together = engine.generate(requests)
    assert together == [engine.generate([one])[0] for one in requests]
