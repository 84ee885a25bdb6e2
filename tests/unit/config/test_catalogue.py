"""What can be chosen by name is found without importing it."""

import re
import subprocess
import sys

import pytest

from snakesteer.config import Config, SteeringConfig, catalogue
from snakesteer.config.catalogue import (
    METHODS,
    MethodEntry,
    of_kind,
    users,
)
from snakesteer.records.code_files import PACKAGE


def test_methods_are_those_of_the_files_and_cost_no_heavy_import():
    files = {path.stem for path in (PACKAGE / "steering" / "methods").glob("*.py")}
    assert set(METHODS) == files - {"__init__", "base"}
    assert {"caa", "dac", "actadd", "dac_heads", "iti"} <= set(METHODS)
    code = (
        "import sys; from snakesteer.config import catalogue; assert 'iti' in catalogue.METHODS;"
        "assert not {'numpy', 'optuna', 'torch'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_kinds_and_keys():
    assert of_kind("residual") == ["caa", "dac", "together"]
    assert of_kind("heads", ["iti", "caa"]) == ["iti"]
    assert of_kind("prompt_start") == ["actadd"]
    assert users("steering.dac_kl") == ["dac", "dac_heads"]
    assert users("steering.dac_kl", ["caa", "dac"]) == ["dac"]
    assert users("heads.iti_heads") == ["iti"]


def test_the_keys_of_a_method_are_keys_of_the_config(monkeypatch):
    assert all(set(method.needs) <= set(method.keys) for method in METHODS.values())
    entry = MethodEntry("Half", "residual", ("steering.haif",), ())
    monkeypatch.setitem(METHODS, "half", entry)
    with pytest.raises(ValueError, match=r"methods/half\.py .* lacks: steering\.haif"):
        Config()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_described_where_it_can_be_chosen(method):
    assert METHODS[method].summary != "no description"
    description = SteeringConfig.model_fields["methods"].description
    assert f"`{method}`: {METHODS[method].summary}." in description
    assert method in SteeringConfig.model_json_schema()["properties"]["methods"]["items"]["enum"]


def test_an_unknown_method_names_the_known_ones_and_the_file_to_add():
    with pytest.raises(ValueError, match=r"'caaa'.*actadd, caa, dac.*steering/methods/caaa\.py"):
        SteeringConfig(methods=["caaa"])


GOOD = """\
\"\"\"Half of it.\"\"\"

import math

KIND: str = "heads"
KEYS = ("heads.steps",)
SPAN = (0.0, math.inf)


def suggest(trial, space): ...
def choices(config, layers): ...
def spans(config): ...
def dynamic(config): ...
"""


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """What a method's module says, with some of its text replaced."""
    monkeypatch.setattr(catalogue, "_METHODS", tmp_path)

    def read(old="", new=""):
        assert old in GOOD
        (tmp_path / "half.py").write_text(GOOD.replace(old, new, 1) if old else GOOD)
        return catalogue._method("half")

    return read


def test_a_module_is_read_without_importing_it(entry):
    wanted = MethodEntry("Half of it", "heads", ("heads.steps",), ())
    assert entry() == wanted
    assert entry("KEYS =", "OTHERS =").keys == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("KIND", "KNID", "half.py has no KIND: name one of 'residual', 'heads', 'prompt_start'"),
        ('"heads"', '"half"', "half.py: KIND is 'half', not one of 'residual', 'heads'"),
        ('("heads.steps",)', '["heads.steps"]', "not a tuple of config keys"),
        ('("heads.steps",)', '("heads.steps")', "not a tuple of config keys"),
        ('("heads.steps",)', '("heads.steps", 1)', "not a tuple of config keys"),
        ('("heads.steps",)', "tuple(SPAN)", "half.py: KEYS must be written out, not computed"),
        ("def spans", "def span", "half.py has no function 'spans'"),
    ],
)
def test_a_method_that_says_something_else_is_named(entry, old, new, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        entry(old, new)
