"""A GGUF file gives the model that was written into it, and so does its copy."""

import os
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from snakesteer.config import ModelConfig
from snakesteer.config.params import leaves
from snakesteer.engine.slots.check import supports
from snakesteer.errors import UserError
from snakesteer.evaluation.steered_text import load_model
from snakesteer.models import gguf as copying
from snakesteer.models.copies import GGUF_FOLDER, gguf_copy_name, gguf_inputs
from snakesteer.models.depth import depth_before_download
from snakesteer.models.gguf import copy_gguf, find_gguf, with_copy
from snakesteer.models.loading import describe_model, load_causal_lm
from snakesteer.models.open import model_record, open_model
from snakesteer.records.files import sha256_file, write_json
from tests.loaded_models import prompt_ids
from tests.tiny_models import (
    BOS,
    CONTEXT,
    EOS,
    MERGES,
    NUM_LAYERS,
    PAD,
    SPECIALS,
    UNK,
    VOCABULARY,
    tiny_model,
    tiny_tokenizer,
)


def write_gguf(path: Path, model, quantised: gguf.GGMLQuantizationType | None = None) -> None:
    """Write a Llama as llama.cpp's converter does: names, permuted queries and keys, tokenizer."""
    config = model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(VOCABULARY)
    normal = [gguf.TokenType.NORMAL] * (len(VOCABULARY) - len(SPECIALS))
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIALS) + normal)
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_pad_token_id(PAD)
    writer.add_unk_token_id(UNK)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        for part, count in (("q_proj", heads), ("k_proj", kv_heads)):
            if part in name:  # llama.cpp rotates neighbours, HuggingFace the two halves
                values = values.reshape(count, 2, -1, values.shape[1])  # [heads, 2, half, hidden]
                values = values.swapaxes(1, 2).reshape(tensor.shape)
        target = names.get_name(name, try_suffixes=(".weight",))
        values = np.ascontiguousarray(values)
        if quantised is None or values.ndim == 1:
            writer.add_tensor(target, values)
        else:
            blocks = gguf.quants.quantize(values, quantised)
            writer.add_tensor(target, blocks, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(folder / "tiny.gguf", tiny_model("llama"))
    return ModelConfig(name=str(folder), gguf_file="tiny.gguf", dtype="float32", device="cpu")


def test_the_model_of_a_gguf_file_runs_exactly(section):
    description = describe_model(section)
    assert (description["model_type"], description["num_layers"]) == ("llama", NUM_LAYERS)
    loaded = load_causal_lm(section)
    assert {EOS} <= loaded.eos_ids <= {BOS, EOS}  # transformers 5.10 and 5.17: both
    assert (loaded.pad_id, loaded.context) == (PAD, CONTEXT)
    assert supports(loaded) is None
    for ids in prompt_ids():
        with torch.no_grad():
            wanted = tiny_model("llama")(torch.tensor([ids])).logits
            assert torch.equal(loaded.model(torch.tensor([ids])).logits, wanted)
    for text in ("Tom has 12 apples.", "The #### 42"):
        assert loaded.tokenizer(text).input_ids == tiny_tokenizer()(text).input_ids


def test_the_depth_of_a_gguf_file_is_read_by_the_first_rule(section):
    """It needs torch and transformers to be read, which planning a run does without."""
    assert depth_before_download(section) is None
    assert depth_before_download(section.model_copy(update={"num_layers": 4})) == 4


@pytest.mark.parametrize("size", [0, 3, 600])
def test_a_damaged_gguf_file_is_explained(section, tmp_path, size):
    content = (Path(section.name) / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(content[:size])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_causal_lm(section.model_copy(update={"name": str(tmp_path)}))


def test_a_gguf_file_is_not_quantised_again():
    with pytest.raises(ValueError, match=r"quantisation is its own.*model\.quantization: none"):
        ModelConfig(name="some/model", gguf_file="q4.gguf", quantization="nf4")


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """A model with weights of 8 bits, whose copy has 32."""
    folder = tmp_path_factory.mktemp("quantised")
    write_gguf(folder / "tiny.gguf", tiny_model("llama"), gguf.GGMLQuantizationType.Q8_0)
    return ModelConfig(name=str(folder), gguf_file="tiny.gguf", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def copy(quantised, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies") / gguf_copy_name(quantised)
    copy_gguf(find_gguf(quantised), folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_copy_has_the_bits_of_its_gguf_file_in_every_dtype(quantised, copy, dtype):
    loads = quantised.model_copy(update={"dtype": dtype})
    original = load_causal_lm(loads)
    loaded = load_causal_lm(loads.model_copy(update={"name": str(copy), "gguf_file": None}))
    weights, copied = original.model.state_dict(), loaded.model.state_dict()
    embedding = "model.embed_tokens.weight"
    assert not torch.equal(weights[embedding].float(), tiny_model("llama").state_dict()[embedding])
    assert weights.keys() == copied.keys()
    for key, values in weights.items():
        assert values.dtype == copied[key].dtype == getattr(torch, dtype)
        assert torch.equal(values, copied[key])
    for ids in prompt_ids():
        with torch.no_grad():
            one, other = (m.model(torch.tensor([ids])).logits for m in (original, loaded))
        assert torch.equal(one, other)
    told = [(m.eos_ids, m.pad_id, m.context, supports(m)) for m in (original, loaded)]
    assert told[0] == told[1]
    for text in ("Tom has 12 apples.", "The #### 42"):
        assert loaded.tokenizer(text).input_ids == original.tokenizer(text).input_ids


def test_a_run_loads_the_copy_and_names_the_file(quantised, copy, tmp_path):
    params = leaves("model", quantised)
    record = model_record(params, [str(copy / "model.safetensors")])
    path = Path(quantised.name, "tiny.gguf")
    assert (record["name"], record["commit"]) == (quantised.name, None)
    assert record["sha256"] == {"tiny.gguf": sha256_file(path)}
    assert record["copy"] == str(copy)
    write_json(tmp_path / "info.json", record)
    hidden = path.rename(path.with_name("hidden"))
    try:
        loaded = open_model(params, tmp_path / "info.json", gpus=0, threads=1)
    finally:
        hidden.rename(path)
    assert len(loaded.blocks) == NUM_LAYERS


def test_the_api_loads_the_copy_where_it_is_of_this_file(quantised, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    path = tmp_path / "m" / "tiny.gguf"
    path.write_bytes((Path(quantised.name) / "tiny.gguf").read_bytes())
    model = ModelConfig(name="m", gguf_file="tiny.gguf", dtype="float32", device="cpu")
    assert with_copy(model) is model
    folder = Path(GGUF_FOLDER, gguf_copy_name(model))
    copy_gguf(find_gguf(model), folder)
    assert with_copy(model).name == str(folder)
    seen = []
    monkeypatch.setattr("snakesteer.models.loading.load_causal_lm", seen.append)
    load_model("m", gguf_file="tiny.gguf", dtype="float32", device="cpu")
    assert seen[0] == with_copy(model)
    path.write_bytes(path.read_bytes() + b"\0")
    assert with_copy(model) is model
    path.unlink()
    assert with_copy(model) is model


def test_a_killed_copy_leaves_the_old_one(quantised, copy, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "old").touch()
    monkeypatch.setattr(copying, "_check_same", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        copy_gguf(find_gguf(quantised), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert os.listdir(folder) == ["old"]


def test_an_unfaithful_copy_is_refused(quantised, tmp_path, monkeypatch):
    real = copying._plain

    def altered(original):
        model = real(original)
        model.model.norm.weight = torch.nn.Parameter(2.0 * model.model.norm.weight)
        return model

    monkeypatch.setattr(copying, "_plain", altered)
    with pytest.raises(UserError, match="has other weights, logits than the file itself"):
        copy_gguf(find_gguf(quantised), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 3, 600])
def test_a_damaged_file_is_found_before_it_is_copied(section, tmp_path, size):
    content = (Path(section.name) / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(content[:size])
    with pytest.raises(UserError, match="cannot be loaded"):
        find_gguf(section.model_copy(update={"name": str(tmp_path)}))


def test_a_file_cut_off_in_its_weights_is_not_copied(section, tmp_path):
    content = (Path(section.name) / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(content[:-100])
    source = {"name": str(tmp_path), "revision": None, "commit": None, "file": "tiny.gguf"}
    with pytest.raises(UserError, match="cannot be loaded"):
        copy_gguf(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_names_and_inputs_of_copies(section):
    name = gguf_copy_name(section)
    assert name.startswith("tiny-")
    assert len(name) == len("tiny-") + 16
    assert name == gguf_copy_name(section.model_copy(update={"dtype": "bfloat16"}))
    others = [
        section.model_copy(update={key: "other"}) for key in ("name", "revision", "gguf_file")
    ]
    assert len({name, *map(gguf_copy_name, others)}) == 4
    assert "{" not in gguf_copy_name(section.model_copy(update={"gguf_file": "sub/a{b}.gguf"}))
    assert gguf_inputs(section) == [f"{section.name}/tiny.gguf"]
    (Path(section.name) / "generation_config.json").write_text("{}")
    assert gguf_inputs(section)[1] == f"{section.name}/generation_config.json"
    (Path(section.name) / "generation_config.json").unlink()
    assert gguf_inputs(ModelConfig(name="some/model", gguf_file="q4.gguf")) == []
