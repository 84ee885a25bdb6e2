"""What a model's ``forward`` takes."""

from collections.abc import Callable, Set
from functools import cache
from inspect import signature
from typing import Any


def takes(model: Any, argument: str) -> bool:
    """Whether a model's ``forward`` has an argument of that name.

    Args:
        model: A HuggingFace model, or its stack of blocks.
        argument: The name.
    """
    return argument in _arguments(type(model).forward)


def cache_argument(model: Any) -> str:
    """What it calls the keys and values that it is given: transformers 5.24 has renamed it.

    Args:
        model: A HuggingFace model, or its stack of blocks.
    """
    return "cache" if takes(model, "cache") else "past_key_values"


# Asked at every pass: a signature is read once.
@cache
def _arguments(forward: Callable[..., Any]) -> Set[str]:
    return signature(forward).parameters.keys()
