"""The machine in words and numbers."""

import os
import subprocess
from types import SimpleNamespace

import pytest
import torch

from snakesteer.records import machine as module
from snakesteer.records.machine import cores, machine, processor


def test_a_cpu():
    found = machine(torch.device("cpu"))
    assert found["processor"] == processor() != ""
    assert found["cores"] == cores() == len(os.sched_getaffinity(0))
    assert 2**28 < found["memory_bytes"] < 2**50
    assert found["platform"]
    assert found["gpu"] is None


def test_a_gpu_with_and_without_its_tool(monkeypatch):
    card = SimpleNamespace(name="Card", total_memory=2**34, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def nvidia_smi(command, **_):
        assert command[0] == "nvidia-smi"
        return subprocess.CompletedProcess(command, 0, "580.1\n580.1\n")

    monkeypatch.setattr(subprocess, "run", nvidia_smi)
    expected = {"name": "Card", "memory_bytes": 2**34, "compute_capability": "9.0", "cuda": "13.0"}
    assert machine(torch.device("cuda"))["gpu"] == expected | {"driver": "580.1"}

    def missing(command, **_):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(module.subprocess, "run", missing)
    assert machine(torch.device("cuda"))["gpu"] == expected | {"driver": None}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_real_gpu():
    gpu = machine(torch.device("cuda"))["gpu"]
    assert gpu["name"] == torch.cuda.get_device_name()
    assert all(gpu.values())
