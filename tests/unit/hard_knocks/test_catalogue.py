"""The catalogue says what the tests test."""

import ast
from functools import cache

import pytest

from tests.hard_knocks import DOCUMENT, ROOT, SINGLE, document, sections


def test_the_page_is_made_from_the_tests():
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_it_is_long():
    assert sum(map(len, sections().values())) >= 60


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", SINGLE, ids=lambda row: row[0])
def test_every_fault_has_its_test(row: tuple[str, str, str, str]):
    *_, file, name = row
    assert name in functions(file)
