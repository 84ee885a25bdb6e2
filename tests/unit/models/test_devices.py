"""Leases of GPUs: one process a device, freed however the process ends."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock, Timeout

from snakesteer.errors import UserError
from snakesteer.models.devices import POLL_SECONDS, lease_devices, lease_gpus

HOLD = """
import json, sys, time
from snakesteer.models.devices import lease_devices
lease = lease_devices(["a", "b"], folder=sys.argv[1])
start = time.monotonic()
time.sleep(float(sys.argv[2]))
print(json.dumps([lease.indices[0], start, time.monotonic()]))
"""


def hold(folder, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


def test_leases_differ(tmp_path):
    first = lease_devices(["a", "b"], folder=tmp_path)
    second = lease_devices(["a", "b"], folder=tmp_path)
    assert {first.indices[0], second.indices[0]} == {0, 1}
    second.release()
    assert lease_devices(["a", "b"], folder=tmp_path).indices == second.indices
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
    other = lease_devices(["a", "b"], folder=tmp_path)  # the killed job holds the other one
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    again = lease_devices(["a", "b"], folder=tmp_path)
    assert {other.indices[0], again.indices[0]} == {0, 1}
    other.release()
    again.release()


def test_several_are_taken_all_or_none(tmp_path):
    first = lease_devices(["a", "b", "c"], 2, tmp_path)
    assert first.indices == (0, 1)
    waiting = threading.Thread(
        target=lambda: found.append(lease_devices(["a", "b", "c"], 2, tmp_path)), daemon=True
    )
    found = []
    waiting.start()
    time.sleep(3 * POLL_SECONDS)
    assert not found
    while True:  # the job that waits for two does not keep the third from one that takes one
        try:
            third = FileLock(tmp_path / "c.lock", timeout=0)
            third.acquire()
            break
        except Timeout:
            time.sleep(0.01)
    third.release()
    first.release()
    waiting.join(30)
    assert found[0].indices == (0, 1)
    found[0].release()


def test_fewer_than_a_model_asks_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"model\.gpus is 2, but this job sees 1"):
        lease_gpus(2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert lease_gpus(2) is None  # on the CPU


def test_nothing_to_choose(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert lease_gpus() is None


def test_one_of_several(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}")
    )
    first, second = lease_gpus(), lease_gpus()
    assert (first.indices[0], second.indices[0]) == (0, 1)
    first.release()
    second.release()
