"""A GGUF file gives the model that was written into it."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from snakesteer.config import ModelConfig
from snakesteer.engine.slots.check import supports
from snakesteer.errors import UserError
from snakesteer.models.depth import depth_before_download
from snakesteer.models.loading import describe_model, load_causal_lm
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


def write_gguf(path: Path, model) -> None:
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
        writer.add_tensor(target, np.ascontiguousarray(values))
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
    assert (loaded.eos_ids, loaded.pad_id, loaded.context) == ({EOS}, PAD, CONTEXT)
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


def test_a_gguf_file_is_not_quantised_again(section):
    with pytest.raises(UserError, match=r"quantisation is its own.*model\.quantization: none"):
        load_causal_lm(section.model_copy(update={"quantization": "nf4"}))
