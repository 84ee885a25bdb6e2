"""Direction estimators, one module each; the module's name is the direction's.

Every module defines ``estimate(activations, probe)``: what was read at one layer in, ``[hidden]``
out. Nothing has to list the modules: the configuration, its schema and reference, the rules, the
search and the report take whatever lies in this folder (docs/new_method.md shows how to add one).
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def estimator(direction: str) -> Callable[..., Any]:
    """The ``estimate`` function of a direction.

    Args:
        direction: The name of its module.
    """
    estimate: Callable[..., Any] = import_module(f"{__name__}.{direction}").estimate
    return estimate
