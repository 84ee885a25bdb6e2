"""What a run can choose by name: every module in the folders of directions and methods is one.

The modules are looked at, not imported: the configuration is read with the Snakefile, and needs
their names, first lines and constants, not torch or scikit-learn.
"""

import ast
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

# What a method steers: the residual stream, attention heads, or the start of every prompt.
Kind = Literal["residual", "heads", "prompt_start"]

_PACKAGE = Path(__file__).parents[1]
_DIRECTIONS = _PACKAGE / "vectors" / "directions"
_METHODS = _PACKAGE / "steering" / "methods"
_SHARED = {"base"}  # what methods have in common
_FUNCTIONS = ("suggest", "choices", "spans", "dynamic")


@dataclass(frozen=True)
class MethodEntry:
    """What a method's module says of itself.

    Attributes:
        summary: The first line of its docstring, without the full stop.
        kind: ``KIND``: what it steers.
        keys: ``KEYS``: config keys (``section.key``) that do nothing without it.
        needs: ``NEEDS``: config keys that it cannot do without.
    """

    summary: str
    kind: Kind
    keys: tuple[str, ...]
    needs: tuple[str, ...]


def _names(folder: Path) -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))


def _module(folder: Path, name: str) -> ast.Module:
    return ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))


def _summary(module: ast.Module) -> str:
    lines = (ast.get_docstring(module) or "").splitlines()
    return lines[0].removesuffix(".") if lines else "no description"


def _method(name: str) -> MethodEntry:
    """What a method's module says of itself.

    Raises:
        ValueError: It says too little, or something that cannot be; names the file.
    """
    file, module = _METHODS / f"{name}.py", _module(_METHODS, name)
    said = _constants(module, file)
    kinds = _quoted(get_args(Kind))
    if "KIND" not in said:
        raise ValueError(f"{file} has no KIND: name one of {kinds}")
    if said["KIND"] not in get_args(Kind):
        raise ValueError(f"{file}: KIND is {said['KIND']!r}, not one of {kinds}")
    for constant in ("KEYS", "NEEDS"):
        keys = said.setdefault(constant, ())
        if not isinstance(keys, tuple) or not all(isinstance(key, str) for key in keys):
            raise ValueError(f"{file}: {constant} is {keys!r}, not a tuple of config keys")
    functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    if missing := [name for name in _FUNCTIONS if name not in functions]:
        raise ValueError(f"{file} has no function {_quoted(missing)}")
    return MethodEntry(_summary(module), said["KIND"], said["KEYS"], said["NEEDS"])


def _constants(module: ast.Module, file: Path) -> dict[str, Any]:
    """Those constants of a method's module that are read without importing it."""
    found = {}
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if name in ("KIND", "KEYS", "NEEDS"):
            try:
                found[name] = ast.literal_eval(value)
            except ValueError:
                raise ValueError(f"{file}: {name} must be written out, not computed") from None
    return found


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(map(repr, values))


# Directions that are no modules: learned by gradient descent, and read from the user's own file.
TRAINED = "trained"
IMPORTED = "file"

# Name → first line of the docstring.
DIRECTIONS = {name: _summary(_module(_DIRECTIONS, name)) for name in _names(_DIRECTIONS)}
METHODS = {name: _method(name) for name in _names(_METHODS) if name not in _SHARED}


def of_kind(kind: Kind, methods: Iterable[str] = METHODS) -> list[str]:
    """Those methods that steer this."""
    return [name for name in methods if METHODS[name].kind == kind]


def users(key: str, methods: Iterable[str] = METHODS) -> list[str]:
    """Those methods that a config key is for."""
    return [name for name in methods if key in METHODS[name].keys]
