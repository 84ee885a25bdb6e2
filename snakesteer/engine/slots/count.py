"""How many slots: a number that depends on machine and model, never on the number of trials.

Results that are compared must come from one number of slots, and they come from different rules
and calls. So the first rule that answers settles it, for the largest step of the whole run, and the
others take it from the first one's record.
"""

import os

import torch

from snakesteer.engine.slots.cache import KvShape
from snakesteer.models.loading import LoadedModel

MIN_SLOTS = 4
MOST = 1024
ON_CPU, MOST_ON_CPU = 32, 64
_BYTES_ON_CPU = 3 * 2**30  # for more than `ON_CPU`: within what a job asks for beside the weights
_MULTIPLE = 8  # matrix products of other sizes are slow on a GPU
_TYPICAL_TOKENS = 1024  # behind the shared prefix, prompt and answer
_KEPT_SHARE = 16  # of all memory, for prompts that have been read
_STREAMS = 4  # keys of a slot without, and of the three streams of one with a dynamic strength
_LOGITS = 16  # tensors [slots, vocabulary] in float32: logits, and what is made of them


def choose_slots(
    loaded: LoadedModel, shape: KvShape, own_tokens: int | None = None, dynamic: bool = True
) -> int:
    """Number of slots for a model on its device.

    On a GPU the slots may take half of the memory that the weights leave. On a CPU the arithmetic
    is the limit from `ON_CPU` on; `MOST_ON_CPU` still gain a fifth, and are taken where their keys
    and values are small.

    Args:
        loaded: The model.
        shape: Of its keys and values.
        own_tokens: Positions of a slot behind the shared prefix; None takes a typical number.
        dynamic: Whether there may be dynamic strengths, too, which have slots of their own.
    """
    tokens = own_tokens or min(_TYPICAL_TOKENS, loaded.context or _TYPICAL_TOKENS)
    keys = shape.bytes_per_token * tokens * (_STREAMS if dynamic else 1)
    logits = 4 * _LOGITS * loaded.model.config.get_text_config().vocab_size
    if loaded.device.type != "cuda":
        fitting = int(_BYTES_ON_CPU / (keys + logits))
        return min(MOST_ON_CPU, max(ON_CPU, round_down(fitting)))
    total = torch.cuda.get_device_properties(loaded.device).total_memory
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    return round_down(min(MOST, int((total - weights) / 2 / (keys + logits))))


def round_down(slots: int) -> int:
    """The number of slots of a good size that is not above this one, and not below the smallest."""
    return max(MIN_SLOTS, slots // _MULTIPLE * _MULTIPLE)


def round_up(slots: int) -> int:
    """The number of slots of a good size that is not below this one."""
    return -(-slots // _MULTIPLE) * _MULTIPLE


def kept_bytes(device: torch.device) -> int:
    """Memory for the keys and values of prompts that may be needed again."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // _KEPT_SHARE
    return min(2**29, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _KEPT_SHARE)
