"""Whether lm-evaluation-harness is there, and new enough."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from snakesteer.config import off_target
from snakesteer.config.load import load_config
from snakesteer.errors import UserError

EXTRAS = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ("0.4.13", None),
        ("0.5", None),
        ("1.0.0rc1", None),
        ("0.4.9.1", "version 0.4.9.1 is installed, older than 0.4.13"),
        (None, "which is not installed"),
    ],
)
def test_an_old_harness_is_refused_before_the_first_job(monkeypatch, installed, told):
    def version(_name):
        if installed is None:
            raise PackageNotFoundError
        return installed

    monkeypatch.setattr(off_target, "version", version)
    if told is None:
        off_target.check_installed()
        return
    with pytest.raises(UserError, match=told) as caught:
        off_target.check_installed()
    [extra] = EXTRAS["optional-dependencies"]["harness"]
    assert extra in EXTRAS["optional-dependencies"]["dev"]
    assert f"pip install '{extra}'" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"harness_limit": 5}, "harness_limit is 5 and off_target.harness_tasks is []"),
        ({"harness_folder": "tasks"}, "Name some, or leave harness_folder out"),
        ({"harness_tasks": ["a", "b", "a"]}, "off_target.harness_tasks names 'a' twice"),
    ],
)
def test_keys_of_tasks_go_with_tasks(keys, told):
    with pytest.raises(UserError) as caught:
        load_config({"off_target": keys})
    assert told in str(caught.value)
