"""Replaced attention reads prompts as the modules' own does; slots are in test_engine.py."""

import pytest
import torch

from snakesteer.engine.slots.attention import set_positions, slot_attention
from snakesteer.engine.slots.cache import PromptCache
from snakesteer.engine.slots.foreign_attention import is_foreign
from tests.tiny_models import SLIDING_WINDOW, VOCABULARY, tiny_model

LENGTH, PREFIX = 40, 9
FALCONS = [
    {},
    {"bias": True},
    {"multi_query": False},
    {"num_attention_heads": 8, "new_decoder_architecture": True, "num_kv_heads": 2},
    {"alibi": True, "multi_query": False, "parallel_attn": False},
    {"alibi": True},
]
CLIPPED = {"attn_config": {"clip_qkv": 0.5, "softmax_scale": 0.2}}
CASES = [
    ("gpt_neo", {}),
    ("gptj", {}),
    ("bloom", {}),
    ("bloom", {"apply_residual_connection_post_layernorm": True}),
    ("mpt", {}),
    ("mpt", CLIPPED),
    *(("falcon", others) for others in FALCONS),
]


@pytest.mark.parametrize(("family", "others"), CASES, ids=str)
@torch.inference_mode()
def test_a_prompt_is_read_as_the_model_reads_it(family, others):
    """At once and behind a prefix; longer than GPT-Neo's window."""
    model = tiny_model(family, **others)
    assert is_foreign(model) != model._can_set_attn_implementation()  # GPT-J: by version
    assert LENGTH - PREFIX > SLIDING_WINDOW
    ids = torch.randint(len(VOCABULARY), (2, LENGTH), generator=torch.Generator().manual_seed(0))
    ids[1, :PREFIX] = ids[0, :PREFIX]
    wanted = model(ids).logits

    def read(start, prefix):
        positions = torch.arange(start, LENGTH)
        set_positions(positions[None], torch.arange(LENGTH), None)
        cache = PromptCache(prefix)
        output = model(ids[:, start:], position_ids=positions.expand(2, -1), past_key_values=cache)
        return output.logits, cache.stacked()

    with slot_attention(model):
        whole, kv = read(0, None)
        behind, _ = read(PREFIX, kv[:, :, 0, :, :PREFIX])
    torch.testing.assert_close(whole, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(behind, wanted[:, PREFIX:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(ids).logits, wanted)
    if family == "falcon":
        heads = model.config.num_kv_heads if "num_kv_heads" in others else 1
        heads = 4 if others.get("multi_query") is False else heads
        assert kv.shape[3] == heads  # each key head is kept once


def test_other_models_are_not_foreign():
    assert not is_foreign(tiny_model("llama"))
    assert not is_foreign(tiny_model("codegen"))
