"""What a model calls the keys and values that it is given."""

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any


def cache_argument(model: Any) -> str:
    """The argument of a model's ``forward``: transformers 5.24 has renamed it.

    Args:
        model: A HuggingFace model, or its stack of blocks.
    """
    return _name(type(model).forward)


@cache
def _name(forward: Callable[..., Any]) -> str:
    return "cache" if "cache" in signature(forward).parameters else "past_key_values"
