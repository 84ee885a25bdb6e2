"""The small models of the other tests are what those tests take them for."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny_models import (
    CHARACTERS,
    FAMILIES,
    NUM_LAYERS,
    save_tiny_model,
    tiny_model,
    tiny_tokenizer,
)

PROMPTS = ["Tom has 3 apples.", "Question: what is 12?", "a", "The #### 42\n<<1+2=3>>"]


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_model_is_the_same_and_answers_vary(family, tmp_path):
    folder = save_tiny_model(tmp_path, family)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.num_hidden_layers == NUM_LAYERS
    assert model.dtype == torch.float32
    original = tiny_model(family)
    torch.testing.assert_close(model.state_dict(), original.state_dict(), rtol=0, atol=0)
    answers = []
    for prompt in PROMPTS:
        ids = tiny_tokenizer()(prompt, return_tensors="pt").input_ids
        assert tokenizer.encode(prompt) == ids[0].tolist()
        with torch.no_grad():
            torch.testing.assert_close(model(ids).logits, original(ids).logits)
            generated = model.generate(ids, max_new_tokens=12, min_new_tokens=12, do_sample=False)
        answers.append(tuple(generated[0, ids.shape[1] :].tolist()))
    assert len(set(answers)) == len(PROMPTS)
    assert len(set().union(*answers)) > 8


def test_seeds_differ():
    first, again, other = (tiny_model("llama", seed) for seed in (0, 0, 1))
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_tokenizer_is_lossless_and_keeps_digits_single(tmp_path):
    tokenizer = tiny_tokenizer()
    text = "".join(CHARACTERS) + " the thin ####"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("1234")) == 4
    with_bos = tiny_tokenizer(add_bos=True)
    assert with_bos.encode("a") == [1, *tokenizer.encode("a")]
    with_bos.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("a") == with_bos.encode("a")
