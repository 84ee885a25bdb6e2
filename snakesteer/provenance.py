"""Where a result comes from: code, versions, machine, files."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snakesteer.files import sha256_file, sha256_text

PACKAGES = (
    "snakemake",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
    "h5py",
    "safetensors",
    "pandas",
)


def git_state(folder: str | Path) -> dict[str, Any]:
    """Commit of a checkout, whether it has local changes, and a hash of them.

    Args:
        folder: Inside the checkout.

    Returns:
        ``commit``, ``dirty`` and ``diff_sha256``; None for all where there is no checkout (an
        unpacked archive).
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=folder,
                capture_output=True,
                encoding="utf-8",
                errors="replace",  # a diff may hold any bytes
                check=False,
            )
        except FileNotFoundError:
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None, "diff_sha256": None}
    status = git("status", "--porcelain") or ""
    diff = git("diff", "HEAD") or ""
    return {
        "commit": commit.strip(),
        "dirty": bool(status.strip()),
        "diff_sha256": sha256_text(status + diff) if status.strip() else None,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """The machine as far as numbers may depend on it."""
    return {"platform": platform.platform(), "processor": processor()}


def file_hashes(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of files, by path."""
    return {str(path): sha256_file(path) for path in sorted(paths, key=str)}


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """The processor's name; Linux keeps it in a file, other systems in `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
