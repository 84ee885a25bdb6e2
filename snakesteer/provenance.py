"""Where a result comes from: code, versions, files."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snakesteer.comparable import NOT_COMPARED, content_sha256
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
    "statsmodels",
)


def provenance(
    config: Mapping[str, Any],
    model: Mapping[str, Any],
    final: Mapping[str, Any],
    paths: Iterable[str | Path],
    code: str | Path,
) -> dict[str, Any]:
    """The record of a run, complete enough to do it again and compare.

    Args:
        config: The effective config.
        model: model/info.json.
        final: test_final.json; it says which machine and engine made it.
        paths: Everything that was read or made.
        code: Inside the checkout.

    Returns:
        The content of provenance.json. ``sha256`` has the bytes of every file by path;
        ``content_sha256`` what must be the same when the run is repeated, by path in the results
        folder.
    """
    files = [Path(path) for path in paths]
    folder = Path(config["results"])
    made = {path.relative_to(folder).as_posix(): path for path in files if folder in path.parents}
    return {
        "created": timestamp(),
        "config": config,
        "git": git_state(code),
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


def file_hashes(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of files, by path."""
    return {str(path): sha256_file(path) for path in sorted(paths, key=str)}


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
