"""Which library files a rule's result depends on: all that its script imports.

Snakemake does not see what a script imports. What a rule declares as its code is therefore read off
its script here, and off what that imports in turn, so that a change in the code reruns what it
affects and nothing else. No rule lists its modules by hand. Their fingerprint is a parameter: as
inputs, a study of a hundred runs would have two hundred thousand files to plan with.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

# Plumbing: what these do to a result goes through rule parameters, or is no part of it. A package
# stands for all of its modules.
_PLUMBING = (
    "config",
    "errors",
    "records.files",
    "records.library_causes",
    "records.library_errors",
    "records.live_runs",
    "records.logs",
    "records.machine",
    "records.paths",
    "records.versions",
)
PLUMBING = frozenset(f"snakesteer.{name}" for name in _PLUMBING)


def imported_files(
    script: str | Path, chosen: Mapping[str, Sequence[str]] | None = None
) -> list[Path]:
    """Library files that a script imports, and those that they import.

    Args:
        script: A Python file outside the library.
        chosen: Packages whose modules are found by name at run time, with the names that this run
            takes, such as ``{"vectors.directions": ["caa"]}``. Where the script reaches the
            package, it depends on those of these modules that are there.

    Returns:
        Sorted paths, without `PLUMBING`.
    """
    return [*_imported_files(Path(script), _frozen(chosen or {}))]


def fingerprint(script: str | Path, chosen: Mapping[str, Sequence[str]] | None = None) -> str:
    """A hash of the names and contents of `imported_files`."""
    return fingerprint_of(imported_files(script, chosen))


def fingerprint_of(files: Iterable[Path]) -> str:
    """A hash of library files: their names within the package, and their contents."""
    named = sorted((path.relative_to(PACKAGE).as_posix(), _sha256(path)) for path in files)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


@cache
def from_here(path: Path) -> str:
    """A file's path from the working directory, so that a project can be moved with its results.

    What lies outside goes by its absolute path.
    """
    relative = os.path.relpath(path)
    return str(path.resolve()) if relative.startswith("..") else relative


def _frozen(chosen: Mapping[str, Sequence[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((package, tuple(names)) for package, names in sorted(chosen.items()))


@cache  # a study asks for every run
def _imported_files(
    script: Path, chosen: tuple[tuple[str, tuple[str, ...]], ...]
) -> tuple[Path, ...]:
    by_name = {
        f"snakesteer.{package}": [f"snakesteer.{package}.{name}" for name in names]
        for package, names in chosen
    }
    found: set[str] = set()
    waiting = [*_imports(script)]
    while waiting:
        module = waiting.pop()
        if module not in found and not _is_plumbing(module):
            found.add(module)
            waiting += _imports(_file(module))
            waiting += [name for name in by_name.get(module, ()) if _file(name).exists()]
    return tuple(sorted(_file(module) for module in found))


def _is_plumbing(module: str) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:end]) in PLUMBING for end in range(2, len(parts) + 1))


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _imports(file: Path) -> list[str]:
    """Library modules that a file imports, also inside its functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported may be a module itself, as in `from snakesteer.data import embedded`.
            named += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in named if name.split(".")[0] == PACKAGE.name and _file(name).exists()]
