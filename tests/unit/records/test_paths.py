"""Paths as a shell reads them."""

import os
import pwd

import pytest

from snakesteer.errors import UserError
from snakesteer.records.paths import expanded


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("DATA", "/data sets")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("GONE", raising=False)


@pytest.mark.parametrize(
    ("path", "becomes"),
    [
        ("~", "/home/ada"),
        ("~/m", "/home/ada/m"),
        ("$HOME/m", "/home/ada/m"),
        ("${DATA}/gsm8k", "/data sets/gsm8k"),
        ("${DATA}/layer_{layer}.gguf", "/data sets/layer_{layer}.gguf"),
        ("a/$DATA/$HOME", "a//data sets//home/ada"),
        ("a/~", "a/~"),
        ("openai-community/gpt2", "openai-community/gpt2"),
        ("5$ $(HOME) $ $; #", "5$ $(HOME) $ $; #"),
    ],
)
def test_home_and_variables(path, becomes):
    assert expanded(path, "results") == becomes
    assert expanded(becomes, "results") == becomes


def test_the_home_of_another_user():
    user = pwd.getpwuid(os.getuid())
    assert expanded(f"~{user.pw_name}/m", "results") == f"{user.pw_dir}/m"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("$GONE/m", "data.folder is '$GONE/m', but the environment variable 'GONE' is not set"),
        ("${GONE}", "the environment variable 'GONE'"),
        ("$EMPTY/m", "'EMPTY' is not set"),
        ("${DATA:-/x}", "'DATA:-/x' is not set"),
        ("${}", "'' is not set"),
        ("~nobody-of-this-name/m", "no user of that name"),
    ],
)
def test_what_is_not_known_is_named_with_its_key(path, said):
    with pytest.raises(UserError) as error:
        expanded(path, "data.folder")
    assert said in str(error.value)
    assert str(error.value).startswith("data.folder is ")
