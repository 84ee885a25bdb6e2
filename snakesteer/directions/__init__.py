"""Direction estimators, one module each; the module's name is the direction's.

Every module defines ``estimate(activations, probe)``: what was read at one layer in, ``[hidden]``
out. Nothing has to list the modules: the configuration, its schema and reference, the rules, the
search and the report take whatever lies in this folder (docs/new_method.md shows how to add one).
"""

import ast
import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

# Found without importing them: the configuration needs their names, not scikit-learn.
NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def estimator(direction: str) -> Callable[..., Any]:
    """The ``estimate`` function of a direction.

    Args:
        direction: One of `NAMES`.
    """
    estimate: Callable[..., Any] = import_module(f"{__name__}.{direction}").estimate
    return estimate


def summary(direction: str) -> str:
    """The first line of a direction's module docstring, without its full stop."""
    tree = ast.parse((Path(__file__).parent / f"{direction}.py").read_text(encoding="utf-8"))
    lines = (ast.get_docstring(tree) or "").splitlines()
    return lines[0].removesuffix(".") if lines else "no description"
