"""Quantised weights: in 8 or 4 bits by the optional package bitsandbytes, or from a GGUF file."""

from importlib.util import find_spec
from typing import Any

import torch
import transformers
from transformers import BitsAndBytesConfig

from snakesteer.config import ModelConfig
from snakesteer.errors import UserError


def quantization_arguments(
    model: ModelConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """What ``from_pretrained`` takes so that weights are quantised, or read from a GGUF file.

    ``int8`` is LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339); ``nf4`` is the NormalFloat of
    QLoRA (Dettmers et al. 2023, arXiv 2305.14314), computed in the activations' dtype.

    Args:
        model: The model section.
        device: Where the weights go.
        dtype: Of the activations.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    if model.gguf_file is not None:
        return unpacked()
    if model.quantization == "none":
        return {}
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"model.quantization is {model.quantization!r}, but the package bitsandbytes, which "
            "does that, is not installed",
            "Install it (pip install bitsandbytes), or set model.quantization: none.",
        )
    if model.quantization == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    # Quantised weights cannot be moved, so that they are read to where they stay.
    return {"quantization_config": config, "device_map": {"": device}}


def unpacked() -> dict[str, Any]:
    """What ``from_pretrained`` takes to unpack a GGUF file, whatever kernels are installed."""
    if not hasattr(transformers, "GgufConfig"):  # older versions unpack always
        return {}
    return {"quantization_config": transformers.GgufConfig(dequantize=True)}
