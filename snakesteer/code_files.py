"""Which library files a rule's result depends on.

Snakemake does not see what a script imports. Every rule therefore declares the modules it uses as
input, and what those import in turn is found here, so that a change in the code reruns what it
affects and nothing else.
"""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

# Plumbing: what these do to a result goes through rule parameters, or is no part of it.
_PLUMBING = (
    "config",
    "config_load",
    "errors",
    "files",
    "layers",
    "logs",
    "machine",
    "params",
    "provenance",
)
PLUMBING = frozenset(f"snakesteer.{name}" for name in _PLUMBING)


def library_files(*modules: str) -> list[Path]:
    """Files of library modules and of everything in the library that they import.

    Args:
        modules: Such as ``search.study``, relative to the package.

    Returns:
        Sorted paths, without `PLUMBING` that is not named itself.
    """
    named = {f"snakesteer.{module}" for module in modules}
    found: set[str] = set()
    waiting = [*named]
    while waiting:
        module = waiting.pop()
        if module not in found and (module in named or module not in PLUMBING):
            found.add(module)
            waiting += _imports(module)
    return sorted(_file(module) for module in found)


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _imports(module: str) -> list[str]:
    """Library modules that a module imports, also inside its functions."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "snakesteer":
            # What is imported may be a module itself, as in `from snakesteer.data import embedded`.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in (node.module, *names) if name and _file(name).exists()]
    return found
