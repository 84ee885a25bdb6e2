"""Random-weight models in shapes that vLLM's kernels take, on disk, as a run loads them."""

import functools
import importlib.util
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snakesteer.config import ModelConfig
from snakesteer.models.loading import LoadedModel, load_causal_lm
from tests.tiny_models import save_tiny_model

HAS_VLLM = importlib.util.find_spec("vllm") is not None


def needs_vllm(test):
    """Mark what starts vLLM."""
    skip = pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed here")
    return pytest.mark.vllm(skip(test))


WIDTH = 64
DEPTH = 4
# Heads of 32 dimensions, the smallest that vLLM's CPU kernels have.
_SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "initializer_range": 0.3,
}
_GEMMA = {"query_pre_attn_scalar": 32}
SHAPES = {
    "llama": _SHAPE,
    "qwen2": {key: value for key, value in _SHAPE.items() if key != "head_dim"},
    "qwen3": _SHAPE,
    "gemma2": _SHAPE | _GEMMA | {"tie_word_embeddings": True},  # vLLM has no other
    "gemma3_text": _SHAPE | _GEMMA,
}


def save_vllm_model(folder: Path, family: str) -> Path:
    """Save a model and its tokenizer; gives the folder."""
    return save_tiny_model(folder, family, **SHAPES[family])


@functools.cache
def vllm_loaded(family: str) -> LoadedModel:
    """A model from a folder that lasts as long as the process, in float32 on the CPU."""
    folder = Path(tempfile.mkdtemp(prefix=f"vllm-{family}-"))
    save_vllm_model(folder, family)
    model = ModelConfig(name=str(folder), dtype="float32", device="cpu")
    return load_causal_lm(model, gpus=0, threads=1)


def wide_direction(seed: int = 0) -> Tensor:
    """A random vector ``[WIDTH]``, long enough to change what the models say."""
    return 2.0 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
