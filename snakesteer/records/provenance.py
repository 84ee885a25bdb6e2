"""The record of a run: its config, code, machine, seeds, and the hashes of its files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from snakesteer.records.content import NOT_COMPARED, content_sha256
from snakesteer.records.files import sha256_file
from snakesteer.records.versions import git_state, timestamp, versions


def provenance(
    config: Mapping[str, Any],
    model: Mapping[str, Any],
    final: Mapping[str, Any],
    paths: Iterable[str | Path],
    folders: Iterable[str | Path],
    checkout: str | Path,
) -> dict[str, Any]:
    """The record of a run, complete enough to do it again and compare.

    Args:
        config: The effective config.
        model: model/info.json.
        final: test_final.json; it says which machine and engine made it.
        paths: Everything that was read or made; folders stand for the files in them.
        folders: The run's own, and those of stages that it shares with other runs.
        checkout: Folder of the Snakefile.

    Returns:
        The content of provenance.json. ``sha256`` has the bytes of every file by path;
        ``content_sha256`` what must be the same when the run is repeated, by path in these folders.
    """
    files = _files(paths)
    made = {
        path.relative_to(folder).as_posix(): path
        for folder in map(Path, folders)
        for path in files
        if folder in path.parents
    }
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


def file_hashes(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of files, by path."""
    return {str(path): sha256_file(path) for path in sorted(paths, key=str)}
