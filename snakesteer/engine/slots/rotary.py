"""Rotary embeddings that change with the longest text of a batch, held as they are for short ones.

``longrope`` (Phi 3 and 4 with long contexts) has one set of frequencies for texts within the length
of its first training and another for longer ones; ``dynamic`` (InternLM, Hunyuan) grows its base
beyond the context. A row would depend on its neighbours. The slots engine answers texts within that
length alone, for which either is one fixed set, and lets nothing change it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from snakesteer.engine.interface import Request
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel

_BY_BATCH = {"dynamic", "longrope"}


def rotary_refusal(model: Any) -> str | None:
    """Why a model's rotary embedding cannot be held; None if it can, or need not be."""
    modules = [module for module in model.modules() if hasattr(module, "rope_type")]
    if modules:
        changing = sum(bool(_kinds(module.rope_type) & _BY_BATCH) for module in modules)
    else:  # code that came with the model
        parameters = getattr(model.config.get_text_config(), "rope_parameters", None)
        changing = len(_kinds(parameters) & _BY_BATCH)
    if changing == len(_changing(model)):
        return None
    return "its rotary embedding changes with the longest text of a batch"


def rotary_limit(loaded: LoadedModel) -> int | None:
    """The longest text for which a model's rotary embedding can be held; None for any it reads."""
    limit = min((_fixed_until(module) for module in _changing(loaded.model)), default=None)
    whole = limit is not None and loaded.context is not None and limit >= loaded.context
    return None if whole else limit


def within(loaded: LoadedModel, limit: int | None) -> LoadedModel:
    """The same model with no more context than a limit, if there is one."""
    return loaded if limit is None else replace(loaded, context=limit)


def check_rotary(limit: int | None, requests: Sequence[Request]) -> None:
    """Refuse requests for which a rotary embedding would change.

    Args:
        limit: From `rotary_limit`.
        requests: What is asked.

    Raises:
        UserError: A request is longer.
    """
    longest = max((len(one.prompt_ids) + one.max_new_tokens for one in requests), default=0)
    if limit is not None and longest > limit:
        raise UserError(
            f"A prompt and its new tokens are {longest} tokens, but behind {limit} the model's "
            "rotary embedding is another one, for all texts of a batch",
            "Lower generation.max_new_tokens or prompt.shots. Prompts that are longer by "
            "themselves are answered with engine.name: reference.",
        )


@contextmanager
def rotary_held(model: Any) -> Iterator[None]:
    """Keep a model's rotary embedding as it is for short texts while the context is open."""
    held = [(module, module.rope_type, module.inv_freq) for module in _changing(model)]
    for module, _, _ in held:
        # Itself and no copy: it stays where it is, which captured CUDA graphs rely on.
        module.inv_freq = module.original_inv_freq
        module.rope_type = "held"  # what changes frequencies asks for its own kind
    try:
        yield
    finally:
        for module, kind, frequencies in held:
            module.rope_type, module.inv_freq = kind, frequencies


def _changing(model: Any) -> list[Any]:
    """Those that can be held: of one kind for all layers, and one scale (PhiMoE has two)."""
    return [
        module
        for module in model.modules()
        if hasattr(module, "original_inv_freq")
        and getattr(module, "rope_type", None) in [*_BY_BATCH]
        and "short_mscale" not in module.config.rope_parameters
    ]


def _kinds(parameters: Any) -> set[str]:
    """Kinds of rotary embedding by a module or a config, which may have one per layer type."""
    if isinstance(parameters, dict):
        values = parameters.values() if "rope_type" not in parameters else [parameters["rope_type"]]
        return set[str]().union(*(_kinds(value) for value in values))
    return {parameters} if isinstance(parameters, str) else set()


def _fixed_until(module: Any) -> int:
    """The longest text for which the frequencies are the ones that are held."""
    if module.rope_type == "longrope":
        return int(module.config.rope_parameters["original_max_position_embeddings"])
    return int(module.config.max_position_embeddings)
