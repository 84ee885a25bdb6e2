"""Leases of GPUs: one process a device, freed however the process ends."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import torch

from snakesteer.models.devices import lease_device, lease_gpu

HOLD = """
import json, sys, time
from snakesteer.models.devices import lease_device
lease = lease_device(["a", "b"], sys.argv[1])
start = time.monotonic()
time.sleep(float(sys.argv[2]))
print(json.dumps([lease.index, start, time.monotonic()]))
"""


def hold(folder, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


def test_leases_differ(tmp_path):
    first = lease_device(["a", "b"], tmp_path)
    second = lease_device(["a", "b"], tmp_path)
    assert {first.index, second.index} == {0, 1}
    second.release()
    assert lease_device(["a", "b"], tmp_path).index == second.index
    first.release()


def test_six_jobs_never_share_two_devices(tmp_path):
    jobs = [hold(tmp_path, 0.3) for _ in range(6)]
    spans = [json.loads(job.communicate(timeout=120)[0]) for job in jobs]
    assert {index for index, _, _ in spans} == {0, 1}
    for device in (0, 1):
        times = sorted((start, end) for index, start, end in spans if index == device)
        for (_, end), (start, _) in itertools.pairwise(times):
            assert end <= start


def test_a_killed_job_frees_its_device(tmp_path):
    job = hold(tmp_path, 600)
    while not list(tmp_path.glob("*.lock")):
        time.sleep(0.05)
    time.sleep(0.2)
    other = lease_device(["a", "b"], tmp_path)  # the killed job holds the other one
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    again = lease_device(["a", "b"], tmp_path)
    assert {other.index, again.index} == {0, 1}
    other.release()
    again.release()


def test_nothing_to_choose(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert lease_gpu() is None


def test_one_of_several(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}")
    )
    first, second = lease_gpu(), lease_gpu()
    assert (first.index, second.index) == (0, 1)
    first.release()
    second.release()
