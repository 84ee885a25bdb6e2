"""Where a result comes from: code, versions, files."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snakesteer.comparable import NOT_COMPARED, content_sha256
from snakesteer.files import sha256_file

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


def provenance(
    config: Mapping[str, Any],
    model: Mapping[str, Any],
    final: Mapping[str, Any],
    paths: Iterable[str | Path],
    checkout: str | Path,
) -> dict[str, Any]:
    """The record of a run, complete enough to do it again and compare.

    Args:
        config: The effective config.
        model: model/info.json.
        final: test_final.json; it says which machine and engine made it.
        paths: Everything that was read or made; folders stand for the files in them.
        checkout: Folder of the Snakefile.

    Returns:
        The content of provenance.json. ``sha256`` has the bytes of every file by path;
        ``content_sha256`` what must be the same when the run is repeated, by path in the results
        folder.
    """
    files = _files(paths)
    folder = Path(config["results"])
    made = {path.relative_to(folder).as_posix(): path for path in files if folder in path.parents}
    return {
        "created": timestamp(),
        "config": config,
        "git": git_state(checkout),
        "versions": versions(),
        "machine": final["machine"],
        "model": model,
        "run": final["run"],
        "seeds": {
            f"{name}.{key}": value
            for name, section in config.items()
            if isinstance(section, Mapping)
            for key, value in section.items()
            if key.endswith("seed")
        },
        "sha256": file_hashes(files),
        "content_sha256": {
            name: content_sha256(path)
            for name, path in sorted(made.items())
            if name not in NOT_COMPARED
        },
    }


def _files(paths: Iterable[str | Path]) -> list[Path]:
    """Files, those in folders among them; hidden ones there are marks of Snakemake."""
    found: list[Path] = []
    for path in map(Path, paths):
        found += (p for p in path.rglob("[!.]*") if p.is_file()) if path.is_dir() else [path]
    return found


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


def file_hashes(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of files, by path."""
    return {str(path): sha256_file(path) for path in sorted(paths, key=str)}


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
