"""Doing a run again from its record, and comparing what comes out.

``python -m snakesteer.reproduce results/provenance.json`` runs the recorded config into another
folder. The runs are the same if every file has the same content, times aside (see
`snakesteer.records.content`); the exit status is 0 only then.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from snakesteer.api import run_workflow
from snakesteer.config.load import load_config
from snakesteer.errors import UserError
from snakesteer.records.cli import path_argument, run_command
from snakesteer.records.files import read_json
from snakesteer.records.library_causes import USER_FILE
from snakesteer.records.machine import machine
from snakesteer.records.versions import git_state, versions

_NEEDED = {"config", "git", "versions", "machine", "run", "content_sha256"}


@dataclass(frozen=True)
class Change:
    """Something that is not as it was."""

    name: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name}: {_told(self.then)} then, {_told(self.now)} now"


def _told(value: Any) -> str:
    return "none" if value is None else str(value)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs between two mappings, in the order of their keys."""
    names = dict.fromkeys([*then, *now])
    return [
        Change(name, then.get(name), now.get(name))
        for name in names
        if then.get(name) != now.get(name)
    ]


def read_record(path: str | Path) -> dict[str, Any]:
    """Read provenance.json.

    Raises:
        UserError: It is missing, or not enough to do the run again.
    """
    record = read_json(path, USER_FILE)
    if not isinstance(record, dict) or not record.keys() >= _NEEDED:
        raise UserError(
            f"{path} is not the record of a finished run",
            "Name a provenance.json; one of an older version is brought up to date by running "
            "snakemake with its config.",
        )
    return record


def surroundings(
    git: Mapping[str, Any], packages: Mapping[str, str], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """What must be the same for the same bits: code, versions, and what computes.

    Threads are no part of it: how many there are shows when the run is done again.
    """
    gpu = machine["gpu"]
    if gpu is None:
        computes = {"processor": machine["processor"]}
    else:
        computes = {f"gpu {key}": gpu[key] for key in ("name", "driver", "cuda")}
    return {
        "commit": git["commit"],
        "local changes": git["diff_sha256"],
        **packages,
        **computes,
    }


def changed_surroundings(record: Mapping[str, Any]) -> list[Change]:
    """What is different here from the recorded run, as far as it shows before anything has run.

    Raises:
        UserError: The run was on a device that is not there.
    """
    device = torch.device(record["run"]["device"])
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"The run was on {record['run']['device_name']}, and torch finds no CUDA device here",
            "Do it on a machine with that GPU.",
        )
    here = surroundings(git_state(Path(__file__).parents[1]), versions(), machine(device))
    return changes(surroundings(record["git"], record["versions"], record["machine"]), here)


def table(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The files of two runs, one line for a folder whose files are all the same.

    Args:
        then: SHA-256 of contents by path.
        now: The same of the other run.
    """
    different = {change.name for change in changes(then, now)}
    rows = []
    for folder, paths in groupby(sorted({*then, *now}), lambda path: path.partition("/")[0]):
        names = list(paths)
        if different.isdisjoint(names) and len(names) > 1:
            rows.append((f"{folder}/", f"{len(names)} files", "same"))
            continue
        for name in names:
            hashes = (_told(side.get(name))[:8] for side in (then, now))
            state = "DIFFERENT" if name in different else "same"
            rows.append((name, " ".join(dict.fromkeys(hashes)), state))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(
        f"{name:<{widths[0]}}  {told:<{widths[1]}}  {state}" for name, told, state in rows
    )


def reproduce(path: str | Path, into: str | None, cores: int | None, anyway: bool) -> bool:
    """Do a run again and compare; prints what is the same and what is not.

    Args:
        path: provenance.json of the run.
        into: Results folder of the repetition; None appends ``-reproduced`` to the recorded one.
        cores: See `run_workflow`.
        anyway: Also where code, versions or machine are not those of the run.

    Returns:
        Whether all contents are the same.

    Raises:
        UserError: The record cannot be read, something is different here, the folder is taken, or
            the workflow failed.
    """
    record = read_record(path)
    config = record["config"]
    into = into or f"{config['results'].rstrip('/')}-reproduced"
    if (Path(into) / "provenance.json").exists():
        raise UserError(f"{into} holds a finished run", "Delete it, or choose another --into.")
    changed = changed_surroundings(record)
    said = "".join(f"  {change}\n" for change in changed)
    if changed and not anyway:
        raise UserError(
            f"Here it is not as it was, and results may differ for that reason alone:\n{said}",
            "Restore what differs (`git checkout`, `pip install NAME==VERSION`, another machine), "
            "or add --anyway.",
        )
    stays_on_cpu = record["run"]["device"] == "cpu"
    run_workflow(
        load_config({**config, "results": into}),
        f"{into}/provenance.json",
        cores=cores,
        gpus=0 if stays_on_cpu else None,
    )
    again = read_record(Path(into) / "provenance.json")
    print(f"\n{path} against {into}/provenance.json (contents, times aside)\n")
    print(table(record["content_sha256"], again["content_sha256"]))
    # Rounding on a CPU depends on the number of threads, which is among what is told of the run.
    changed += changes(record["run"], again["run"])
    if changed:
        print("\nNot as it was:", *changed, sep="\n  ")
    same = record["content_sha256"] == again["content_sha256"]
    print(f"\n{'The results are the same.' if same else 'The results are DIFFERENT.'}")
    return same


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m snakesteer.reproduce",
        description="Do a run again from its provenance.json and compare all results. Exit status "
        "0 only if they are the same. Run it where the run was made: paths in its config may be "
        "relative.",
    )
    parser.add_argument("record", type=path_argument, help="provenance.json of the run")
    parser.add_argument(
        "--into",
        type=path_argument,
        help="results folder to make (default: with -reproduced added)",
    )
    parser.add_argument("--cores", type=int, help="cores to use (default: the profile's)")
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="also where code, versions or machine are not those of the run",
    )
    given = parser.parse_args()
    return 0 if reproduce(given.record, given.into, given.cores, given.anyway) else 1


if __name__ == "__main__":
    run_command(main)
