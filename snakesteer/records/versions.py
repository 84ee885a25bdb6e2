"""Which code a result comes from, and when: commit, packages, time."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snakesteer.records.files import sha256_file

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
    "statsmodels",
)

# What of a checkout a run depends on.
CODE = ("Snakefile", "snakesteer", "workflow", "config", "profiles", "envs")


def git_state(checkout: str | Path) -> dict[str, Any]:
    """Commit of a checkout, whether `CODE` has local changes in it, and a hash of them.

    Files that git does not track count with their contents, those that it ignores do not.

    Args:
        checkout: Folder of the Snakefile.

    Returns:
        ``commit``, ``dirty`` and ``diff_sha256``; None for all where there is no checkout (an
        unpacked archive).
    """

    def git(*arguments: str) -> bytes | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=checkout,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None, "diff_sha256": None}
    changes = git("diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD", "--", *CODE) or b""
    untracked = git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE) or b""
    for name in filter(None, untracked.split(b"\0")):
        path = Path(checkout, os.fsdecode(name))
        content = sha256_file(path) if path.is_file() else "no file"  # a link to nowhere
        changes += name + b"\0" + content.encode() + b"\n"
    return {
        "commit": commit.decode().strip(),
        "dirty": bool(changes),
        "diff_sha256": hashlib.sha256(changes).hexdigest() if changes else None,
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


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
