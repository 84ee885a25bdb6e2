"""One word for one thing, one idea a file: no name is defined twice, and no file is long."""

import ast
from collections import defaultdict
from pathlib import Path

from snakesteer.records.code_files import PACKAGE

# Folders whose modules are found by name and define the same names on purpose.
FOUND_BY_NAME = ("steering/methods/", "vectors/directions/", "report/methods/", "report/exports/")
# Of every command, of every module that logs, of every generic function.
EVERYWHERE = {"main", "logger", "T"}


def public_names(tree: ast.Module) -> set[str]:
    found = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return {name for name in found if not name.startswith("_")} - EVERYWHERE


def test_no_two_modules_define_the_same_name():
    where = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        if not module.startswith(FOUND_BY_NAME):
            for name in public_names(ast.parse(path.read_text(encoding="utf-8"))):
                where[name].append(module)
    assert len(where) > 300
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short_and_scripts_are_thin():
    root = PACKAGE.parent
    code = [
        *PACKAGE.rglob("*.py"),
        *(root / "tests").rglob("*.py"),
        *root.glob("workflow/**/*.smk"),
    ]
    assert len(code) > 200
    assert {path.name: lines_of(path) for path in code if lines_of(path) > 400} == {}
    scripts = [*(root / "workflow" / "scripts").glob("*.py")]
    assert {path.name: lines_of(path) for path in scripts if lines_of(path) > 40} == {}
