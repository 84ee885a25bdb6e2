"""What a run can choose by name: every module in the folder of directions is one.

The modules are looked at, not imported: the configuration is read with the Snakefile, and needs
their names and first lines, not torch or scikit-learn.
"""

import ast
import pkgutil
from pathlib import Path

DIRECTIONS_FOLDER = Path(__file__).parents[1] / "vectors" / "directions"
DIRECTIONS = tuple(sorted(m.name for m in pkgutil.iter_modules([str(DIRECTIONS_FOLDER)])))


def direction_summary(direction: str) -> str:
    """The first line of a direction's module docstring, without its full stop."""
    tree = ast.parse((DIRECTIONS_FOLDER / f"{direction}.py").read_text(encoding="utf-8"))
    lines = (ast.get_docstring(tree) or "").splitlines()
    return lines[0].removesuffix(".") if lines else "no description"
