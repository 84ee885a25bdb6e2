"""What the methods paragraph says of each steering method, one module each, found by name.

A module has ``TITLE`` and ``sentence(config, blocks)``. A method without one is described by its
own module. These words are apart from `snakesteer.steering.methods` so that a sentence that is
put better reruns no search. Citation keys are those of assets/references.bib.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from snakesteer.config.catalogue import METHODS

RunConfig = Mapping[str, Any]


def method_title(name: str) -> str:
    """What a reader calls a method."""
    return str(_words(name).TITLE) if _has_words(name) else name


def method_sentence(name: str, config: RunConfig, blocks: str) -> str:
    """What a method did, as a sentence.

    Args:
        name: Of the method.
        config: The effective config of the run.
        blocks: The blocks to choose from, in words.
    """
    if _has_words(name):
        return str(_words(name).sentence(config, blocks))
    summary = METHODS[name].summary
    return f"The method {name} was: {summary[0].lower()}{summary[1:]}."


def _has_words(name: str) -> bool:
    return find_spec(f"{__name__}.{name}") is not None


def _words(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
