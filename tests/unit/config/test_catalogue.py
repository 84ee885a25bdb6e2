"""What can be chosen by name is found without importing it."""

import subprocess
import sys

import pytest

from snakesteer.config import Config, SteeringConfig, catalogue
from snakesteer.config.catalogue import METHODS, needs_reference, of_kind, users
from snakesteer.records.code_files import PACKAGE


@pytest.mark.parametrize(
    ("methods", "needed"),
    [
        (["caa"], False),
        (["caa", "dac"], False),
        (["caa", "actadd"], True),
        (["dac_heads"], True),
        (["iti", "dac"], True),
    ],
)
def test_one_method_decides_for_all(methods: list[str], needed: bool):
    assert needs_reference(methods) is needed


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
    assert of_kind("residual") == ["caa", "dac"]
    assert of_kind("heads", ["iti", "caa"]) == ["iti"]
    assert of_kind("prompt_start") == ["actadd"]
    assert users("steering.dac_kl") == ["dac", "dac_heads"]
    assert users("steering.dac_kl", ["caa", "dac"]) == ["dac"]
    assert users("heads.iti_heads") == ["iti"]


def test_the_keys_of_a_method_are_keys_of_the_config():
    known = {
        f"{name}.{key}"
        for name, section in Config()
        if not isinstance(section, str)
        for key in type(section).model_fields
    }
    for method in METHODS.values():
        assert set(method.needs) <= set(method.keys) <= known


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_described_where_it_can_be_chosen(method):
    assert METHODS[method].summary != "no description"
    description = SteeringConfig.model_fields["methods"].description
    assert f"`{method}`: {METHODS[method].summary}." in description
    assert method in SteeringConfig.model_json_schema()["properties"]["methods"]["items"]["enum"]


def test_an_unknown_method_names_the_known_ones_and_the_file_to_add():
    with pytest.raises(ValueError, match=r"'caaa'.*actadd, caa, dac.*steering/methods/caaa\.py"):
        SteeringConfig(methods=["caaa"])


def test_a_method_that_does_not_say_what_it_is(tmp_path, monkeypatch):
    (tmp_path / "half.py").write_text('"""Half of it."""\n\nKIND = "residual"\n')
    monkeypatch.setattr(catalogue, "_METHODS", tmp_path)
    with pytest.raises(ValueError, match=r"half\.py has no ENGINE"):
        catalogue._method("half")
    (tmp_path / "half.py").write_text('"""Half."""\n\nKIND = "half"\nENGINE = "any"\n')
    with pytest.raises(ValueError, match=r"half\.py: KIND is 'half', not one of 'residual'"):
        catalogue._method("half")
