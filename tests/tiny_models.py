"""Random-weight models of many architectures, and a tokenizer that fits them all.

They are small enough to run everywhere and random enough that greedy answers differ from prompt to
prompt: exact equalities between two ways to compute the same thing need no trained weights.
"""

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]
CHARACTERS = sorted(string.digits + string.ascii_letters + string.punctuation + " \n\t")
# Byte-level BPE's names for blanks. transformers takes Qwen2's tokenizer for byte-level always.
_BYTE_LEVEL = str.maketrans({" ": "Ġ", "\n": "Ċ", "\t": "ĉ"})
# A few longer tokens, so that a token is not always a character; digits stay single.
MERGES = [("#", "#"), ("##", "##"), ("<", "<"), (">", ">"), ("t", "h"), ("th", "e"), ("i", "n")]
VOCABULARY = [
    *SPECIALS,
    *(character.translate(_BYTE_LEVEL) for character in CHARACTERS),
    *("".join(pair) for pair in MERGES),
]

NUM_LAYERS = 4
HIDDEN = 32
CONTEXT = 256
SLIDING_WINDOW = 16

_COMMON = {
    "vocab_size": len(VOCABULARY),
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "initializer_range": 0.5,
}
_LLAMA_LIKE = {
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
_NO_GROUPS = {key: value for key, value in _LLAMA_LIKE.items() if key != "num_key_value_heads"}
_GEMMA = _LLAMA_LIKE | {
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    # With tied weights, the scaled embedding of the last token would win every time.
    "tie_word_embeddings": False,
    "sliding_window": SLIDING_WINDOW,
}
# Four layers are fewer than its own pattern of six, of which the last sees everything.
_GEMMA_3 = _GEMMA | {"layer_types": ["sliding_attention", "full_attention"] * (NUM_LAYERS // 2)}
_GPT2 = {"n_embd": HIDDEN, "n_layer": NUM_LAYERS, "n_head": 4, "n_positions": CONTEXT}
_GPT_NEO = {
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_layers": NUM_LAYERS,
    "num_heads": 4,
    "max_position_embeddings": CONTEXT,
    "attention_types": [[["global", "local"], NUM_LAYERS // 2]],
    "window_size": SLIDING_WINDOW,
}
_FALCON = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_OPT = {
    "hidden_size": HIDDEN,
    "word_embed_proj_dim": HIDDEN,
    "ffn_dim": 64,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}

_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE | {"head_dim": 8},
    "mistral": _LLAMA_LIKE | {"sliding_window": SLIDING_WINDOW},
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA_3,
    "gpt2": _GPT2,
    "gpt_neo": _GPT_NEO,
    "gpt_neox": _NO_GROUPS,
    "phi": _NO_GROUPS | {"partial_rotary_factor": 0.5},
    "opt": _OPT,
}
# Families that fewer tests cover, and other layouts of some families, by names of our own.
_MORE: dict[str, dict[str, Any]] = {
    "smollm3": _LLAMA_LIKE,  # its last layer of four has no rotary embedding
    "falcon": _FALCON,  # 7B: one key head, attention and MLP side by side
    "falcon-40b": _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon-rw": _FALCON | {"multi_query": False, "parallel_attn": False, "alibi": True},
    "mixtral": _LLAMA_LIKE | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": _LLAMA_LIKE | _EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 32},
    "qwen3_moe": _LLAMA_LIKE | _EXPERTS | {"num_experts": 4, "head_dim": 8},
    "olmoe": _LLAMA_LIKE | {"num_experts": 8, "num_experts_per_tok": 2},
    "gpt_oss": _LLAMA_LIKE  # attention sinks; experts with biases; every other layer slides
    | {
        "head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": SLIDING_WINDOW,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": CONTEXT // 4,
        },
    },
    "phi3": _LLAMA_LIKE
    | {
        "original_max_position_embeddings": CONTEXT // 2,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "factor": 2.0,
            "short_factor": [1.0, 1.1, 1.3, 1.6],
            "long_factor": [1.0, 2.0, 4.0, 8.0],
            "original_max_position_embeddings": CONTEXT // 2,
        },
    },
    "gptj": _GPT2 | {"rotary_dim": 4},
    "bloom": {"hidden_size": HIDDEN, "n_layer": NUM_LAYERS, "n_head": 4},
    "mpt": {"d_model": HIDDEN, "n_layers": NUM_LAYERS, "n_heads": 4, "max_seq_len": CONTEXT},
    "codegen": _GPT2 | {"rotary_dim": 4},
    "gemma3": {  # with a tower for images, as the models from 4B on have it
        "text_config": _COMMON | _GEMMA_3,
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": NUM_LAYERS,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
        "image_token_index": 3,
        "tie_word_embeddings": False,
    },
    "llama-tied": _LLAMA_LIKE | {"tie_word_embeddings": True},
    "gpt2-untied": _GPT2 | {"tie_word_embeddings": False},
    "opt-350m": _OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "gpt_neox-sequential": _NO_GROUPS | {"use_parallel_residual": False},
}
FAMILIES = tuple(_FAMILIES)
ALL_FAMILIES = (*FAMILIES, *_MORE)


def tiny_config(family: str, **others: Any) -> PretrainedConfig:
    """The config of a 4-layer model with 32 hidden dimensions.

    Args:
        family: One of `ALL_FAMILIES`: a model type, with a name behind a hyphen for other layouts.
        others: Settings that differ.
    """
    settings = _COMMON | (_FAMILIES | _MORE)[family] | others
    return AutoConfig.for_model(family.partition("-")[0], **settings)


def tiny_model(family: str, seed: int = 0, **others: Any) -> PreTrainedModel:
    """A model with random float32 weights, in eval mode; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(family, **others), dtype=torch.float32)
        # Biases and norms start as 0 and 1, where a mistake in their use would not show.
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    if getattr(model.config.get_text_config(), "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")  # as `snakesteer.models.loading` has it loaded
    return model.eval()


def tiny_tokenizer(add_bos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer for printable ASCII, newline and tab; characters and a few longer tokens.

    Args:
        add_bos: Put ``<s>`` in front of every text, as Llama's tokenizer does.
    """
    tokenizer = Tokenizer(
        BPE({token: index for index, token in enumerate(VOCABULARY)}, MERGES, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if add_bos:
        tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )


def save_tiny_model(
    folder: Path, family: str, seed: int = 0, add_bos: bool = False, **others: Any
) -> Path:
    """Save `tiny_model` and `tiny_tokenizer` where the Auto classes find them.

    Returns:
        ``folder``.
    """
    tiny_model(family, seed, **others).save_pretrained(folder)
    tiny_tokenizer(add_bos).save_pretrained(folder)
    return folder
