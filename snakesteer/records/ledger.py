"""The ledger of test reads: what was answered on a test split, over all runs that drew it.

A split has one file, named by its content, in a folder outside the results, so that it outlives
them: one JSON object a line, only ever appended to. A line that cannot be read (the half of one
that a full disk or a power cut leaves) stays where it is, counts as unreadable, and the next line
starts anew.
"""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock

from snakesteer.records.files import sha256_text

logger = logging.getLogger(__name__)

# Of the chosen configuration, or of what stands in its place to question it.
Purpose = Literal["final", "controls"]


@dataclass(frozen=True)
class Read:
    """One configuration's answers to a test split.

    Attributes:
        configuration: Hash of what decides the answers.
        description: The configuration, for a reader.
        date: In UTC, to the second.
        purpose: Why it was answered.
        problems: How many there are.
        samples: Answers to each.
        run: The results folder.
    """

    configuration: str
    description: str
    date: str
    purpose: Purpose
    problems: int
    samples: int
    run: str


_KEYS = [field.name for field in fields(Read)]


def ledger_file(folder: str | Path, problems: Iterable[tuple[str, str, str]]) -> Path:
    """The file of a split.

    Args:
        folder: Of all ledgers.
        problems: Id, question and gold answer of each, in order: the same ones have the same file,
            whatever run drew them and wherever it keeps them.
    """
    return Path(folder) / f"{sha256_text(json.dumps([list(each) for each in problems]))}.jsonl"


def append_reads(path: str | Path, reads: Sequence[Read]) -> dict[str, Any]:
    """Write reads down, safe on disk and one process at a time.

    Returns:
        The counts with these reads, see `count_reads`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(read), ensure_ascii=False) + "\n" for read in reads)
    with FileLock(path.with_name(f"{path.name}.lock")):
        with path.open("ab+") as file:
            half = b""
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                half = b"" if file.read() == b"\n" else b"\n"
            file.write(half + lines.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        return count_reads(path)


def read_ledger(path: str | Path) -> tuple[list[Read], int]:
    """All reads, and the number of lines that cannot be read; the log names these.

    A ledger that is not there holds nothing.
    """
    path = Path(path)
    reads, unreadable = [], 0
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else (), start=1):
        if not line.strip():
            continue
        try:
            reads.append(_read(line))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            unreadable += 1
            logger.warning(
                "%s, line %d is no read of the test split (%r): it is kept, and counted apart",
                path,
                number,
                error,
            )
    return reads, unreadable


def _read(line: bytes) -> Read:
    row = json.loads(line)
    read = Read(**{key: row[key] for key in _KEYS})
    if read.purpose not in get_args(Purpose):
        raise ValueError(f"unknown purpose {read.purpose!r}")
    return read


def count_reads(path: str | Path) -> dict[str, Any]:
    """How often a split was read so far, and for how many different configurations.

    Returns:
        ``{"ledger": path, "final": {"reads", "configurations"}, "controls": {…}, "unreadable"}``.
    """
    reads, unreadable = read_ledger(path)
    counts: dict[str, Any] = {"ledger": Path(path).as_posix()}
    for purpose in get_args(Purpose):
        found = [read.configuration for read in reads if read.purpose == purpose]
        counts[purpose] = {"reads": len(found), "configurations": len(set(found))}
    return {**counts, "unreadable": unreadable}
