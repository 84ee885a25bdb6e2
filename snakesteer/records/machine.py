"""The machine that a result was computed on."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch


def machine(device: torch.device) -> dict[str, Any]:
    """The machine as far as numbers and times may depend on it.

    Args:
        device: What the model runs on.

    Returns:
        ``gpu`` is None unless the device is a CUDA one; ``memory_bytes`` is that of the host.
    """
    return {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": _gpu(device) if device.type == "cuda" else None,
    }


def _gpu(device: torch.device) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "memory_bytes": found.total_memory,
        "compute_capability": f"{found.major}.{found.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda or torch.version.hip,
    }


def _driver() -> str | None:
    """Version of NVIDIA's driver, which torch does not tell; None without `nvidia-smi`."""
    command = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        return None
    return done.stdout.partition("\n")[0].strip() or None if done.returncode == 0 else None


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name; Linux keeps it in a file, other systems in `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
