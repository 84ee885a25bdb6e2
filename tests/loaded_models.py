"""Tiny models as `LoadedModel`, and a slow way to compute what an engine must give.

The slow way has no KV cache, no padding and no batch: it reads the whole text again at every step,
with one plain hook that adds a given tensor to one block's output.
"""

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from snakesteer.engine.interface import Request
from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.loading import LoadedModel
from tests.tiny_models import CONTEXT, EOS, HIDDEN, PAD, tiny_model, tiny_tokenizer

# The five families that steering is promised for, and where each keeps its blocks.
MAIN_FAMILIES = ("llama", "qwen2", "gpt2", "gpt_neo", "gpt_neox")
_BLOCKS_AT = {
    "gpt2": "transformer.h",
    "gpt_neo": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "opt": "model.decoder.layers",
    "falcon": "transformer.h",
    "gptj": "transformer.h",
    "bloom": "transformer.h",
    "mpt": "transformer.blocks",
    "codegen": "transformer.h",
    "gemma3": "model.language_model.layers",
}

# For scopes by token: a rule, and the ids that it names.
TOKENS = "[A-Ma-m0-4 ]"
TOKEN_IDS = frozenset(
    number
    for number in range(len(tiny_tokenizer()))
    if {*tiny_tokenizer().decode([number])} & {*"ABCDEFGHIJKLMabcdefghijklm01234 "}
)

# Lengths 1, 5, 14 and 30: a batch of them is ragged, and the last is longer than a sliding window.
PROMPTS = ("x", "12+4=", "The man in hat", "Tom has 3 apples and eats one.")


def blocks_path(family: str) -> str:
    """The name that the decoder blocks have in this family."""
    return _BLOCKS_AT.get(family.partition("-")[0], "model.layers")


def blocks_of(family: str, model: nn.Module) -> nn.ModuleList:
    """The decoder blocks, by the name they have in this family."""
    return attrgetter(blocks_path(family))(model)


@functools.cache
def loaded_model(family: str, seed: int = 0) -> LoadedModel:
    """A random-weight model in float32 on the CPU. Shared between tests: leave it as it is."""
    return as_loaded(tiny_model(family, seed))


def as_loaded(model: nn.Module) -> LoadedModel:
    """A model with the tests' vocabulary, in float32 on the CPU."""
    model.generation_config = GenerationConfig(pad_token_id=PAD)
    return LoadedModel(
        model=model,
        tokenizer=tiny_tokenizer(),
        blocks=decoder_blocks(model),
        device=torch.device("cpu"),
        dtype=torch.float32,
        eos_ids=frozenset({EOS}),
        pad_id=PAD,
        context=CONTEXT,
    )


def prompt_ids(texts: Sequence[str] = PROMPTS) -> list[tuple[int, ...]]:
    """Token ids of some texts."""
    return [tuple(tiny_tokenizer()(text)["input_ids"]) for text in texts]


def direction(seed: int = 0) -> Tensor:
    """A random vector ``[hidden]``, long enough to change what tiny models say."""
    return 2.0 * torch.randn(HIDDEN, generator=torch.Generator().manual_seed(seed))


def axis_for(operator: str, seed: int = 0) -> Tensor | None:
    """The second axis of a rotation's plane, neither along nor across `direction`; else None."""
    return direction(seed + 100) + direction(seed) / 3 if operator == "rotate" else None


@torch.no_grad()
def slow_logits(family: str, model: nn.Module, ids: Sequence[int], layer: int, added: Tensor):
    """Next-token logits ``[vocab]`` with ``added`` ``[seq, hidden]`` behind one block."""

    def hook(_module, _inputs, output):
        if isinstance(output, tuple):
            return (output[0] + added, *output[1:])
        return output + added

    handle = blocks_of(family, model)[layer].register_forward_hook(hook)
    try:
        return model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    finally:
        handle.remove()


def slow_generate(
    family: str,
    model: nn.Module,
    request: Request,
    factors: Callable[[int, int], float],
    pick: Callable[[Tensor, int], int] = lambda logits, _step: int(logits.argmax()),
) -> tuple[int, ...]:
    """Generated ids, the end token left out, of a request steered by constant factors.

    Args:
        family: The model's family.
        model: The model.
        request: Prompt, limit, vector and layer.
        factors: (position, prompt length) → factor on the vector at that position.
        pick: (logits, step) → token.
    """
    ids = list(request.prompt_ids)
    prompt = len(ids)
    for step in range(request.max_new_tokens):
        factor = torch.tensor([factors(position, prompt) for position in range(len(ids))])
        steering = request.steering
        added = factor[:, None] * steering.vector if steering else torch.zeros(len(ids), HIDDEN)
        logits = slow_logits(family, model, ids, steering.layer if steering else 0, added)
        ids.append(pick(logits, step))
        if ids[-1] == EOS:
            return tuple(ids[prompt:-1])
    return tuple(ids[prompt:])
