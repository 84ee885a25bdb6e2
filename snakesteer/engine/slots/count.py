"""How many slots: a number that depends on the machine and the model, never on the work.

Results that are compared must come from one number of slots, and they come from different rules
and calls. So the number follows from what does not change between them: the device, its memory in
total, and the model. It is a power of two, so that small differences do not matter.
"""

import os

import torch

from snakesteer.engine.slots.cache import KvShape
from snakesteer.models.loading import LoadedModel

MIN_SLOTS = 4  # DAC takes three per request
ON_CPU = 32
MOST = 1024
_TYPICAL_TOKENS = 1024  # behind the shared prefix, prompt and answer
_KEPT_SHARE = 16  # of all memory, for prompts that have been read


def choose_slots(loaded: LoadedModel, shape: KvShape) -> int:
    """Number of slots for a model on its device.

    On a CPU more slots than `ON_CPU` gain nothing: the arithmetic is the limit. On a GPU the keys
    and values may take half of the memory that the weights leave.

    Args:
        loaded: The model.
        shape: Of its keys and values.
    """
    if loaded.device.type != "cuda":
        return ON_CPU
    total = torch.cuda.get_device_properties(loaded.device).total_memory
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    tokens = min(_TYPICAL_TOKENS, loaded.context or _TYPICAL_TOKENS)
    fitting = int((total - weights) / 2 / (shape.bytes_per_token * tokens))
    return max(MIN_SLOTS, min(MOST, 2 ** (max(1, fitting).bit_length() - 1)))


def kept_bytes(device: torch.device) -> int:
    """Memory for the keys and values of prompts that may be needed again."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // _KEPT_SHARE
    return min(2**29, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _KEPT_SHARE)
