"""One live run on a results folder, and no lock of a run that is dead.

Snakemake's locks are files in ``.snakemake/locks``. A run that is killed leaves them behind, so
that the next one refuses to start, and two that start at the same moment find none. So a run also
holds a lock of the kernel (``flock``), which is freed when its process ends, however it ends, and
writes down who it is and which of Snakemake's files are its own. Those go where the kernel's lock
is free and the process, on this same machine, is no more: some file systems grant every lock, and a
process of another machine cannot be seen from here.

Jobs hold a lock that they share. They outlive a Snakemake that was killed: the next run waits until
they end, and those that only begin then see that another run has taken the place of theirs.
"""

import fcntl
import hashlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import psutil

from snakesteer.errors import UserError
from snakesteer.records.files import read_json, write_json

STATE = Path(".snakemake")
RUN_VARIABLE = "SNAKESTEER_RUN"  # for the jobs of a run: its token and its record
CLOCK_SECONDS = 2.0  # by which a process's start may seem to move when the clock is put right
PATIENCE_SECONDS = 3.0  # others look at a lock for a moment only


@dataclass(frozen=True)
class LiveRun:
    """Who works on a results folder.

    Attributes:
        token: A name of its own.
        host: Its machine.
        pid: Its process there.
        started: When the process began, in seconds since 1970.
        locks: Snakemake's lock files that it made, with the times that they were written at (ns).
    """

    token: str
    host: str
    pid: int
    started: float
    locks: dict[str, int]

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.started).strftime("%Y-%m-%d %H:%M:%S")
        return f"process {self.pid} on {self.host}, since {since}"

    def is_here(self) -> bool:
        """Whether this machine is the run's."""
        return self.host == socket.gethostname()

    def is_running(self) -> bool:
        """Whether this machine has that very process."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < CLOCK_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def forget_dead_runs(state: Path = STATE) -> list[str]:
    """Remove Snakemake's locks of runs that are surely dead.

    Args:
        state: Snakemake's folder.

    Returns:
        What to say about the runs that are not.
    """
    said = []
    for record in sorted(_folder(state).glob("*.json")):
        run = _read(record)
        left = [] if run is None else _left(run, state)
        if run is None or not left:
            continue
        with suppress(OSError):  # without locks, nothing is known
            held = _lock(record.with_suffix(".run"), fcntl.LOCK_EX | fcntl.LOCK_NB)
            if held is None or (run.is_here() and run.is_running()):
                said.append(f"A run is under way in this folder: {run}.")
            elif not run.is_here():
                said.append(
                    f"A run in this folder has not ended as it should: {run}. From "
                    f"{socket.gethostname()} it cannot be seen whether it still does something. "
                    f"Start again on {run.host}; or, if that process is no more, say "
                    "snakemake --unlock, and then the same command again."
                )
            else:
                for path in left:
                    path.unlink(missing_ok=True)
            if held is not None:
                held.close()
    return said


def hold_run(
    results: str,
    locks: Iterable[str],
    say: Callable[[str], None],
    state: Path = STATE,
) -> IO[str] | None:
    """Take a results folder for this process, and wait for jobs that an earlier run left behind.

    Args:
        results: The folder.
        locks: Snakemake's lock files of this run.
        say: Is told what there is to wait for.
        state: Snakemake's folder.

    Returns:
        What to keep for as long as the run lasts; None where the file system has no locks.

    Raises:
        UserError: Another run has it.
    """
    record = _record(results, state).absolute()
    record.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = _soon(record.with_suffix(".run"))
    except OSError:
        say(
            "The file system of the working directory has no locks: start one run at a time in it. "
            "After one that was killed, snakemake --unlock."
        )
        return None
    if held is None:
        raise UserError(
            f"Another run works on {results!r}: {_read(record) or 'it has just begun'}",
            "Wait until it ends, or end it; then start this one again.",
        )
    times = {Path(path).name: Path(path).stat().st_mtime_ns for path in locks}
    token, started = uuid.uuid4().hex, psutil.Process().create_time()
    run = LiveRun(token, socket.gethostname(), os.getpid(), started, times)
    write_json(record, asdict(run))
    os.environ[RUN_VARIABLE] = f"{token} {record}"
    jobs = _lock(record.with_suffix(".jobs"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    if jobs is None:
        say(
            "Jobs of an earlier run, which was killed, still work: waiting until they end. To wait "
            "less, end them (on a cluster with scancel)."
        )
        jobs = _lock(record.with_suffix(".jobs"), fcntl.LOCK_EX)
    if jobs is not None:
        jobs.close()
    return held


def join_run() -> IO[str] | None:
    """Say in a job that it works for its run, which the environment names.

    Returns:
        What to keep for as long as the job lasts; None without a run, or without locks.

    Raises:
        UserError: The run is dead, and another one has taken its place.
    """
    token, _, record = os.environ.get(RUN_VARIABLE, "").partition(" ")
    shared = None
    with suppress(OSError):  # not this machine's disk, or one without locks
        shared = _lock(Path(record).with_suffix(".jobs"), fcntl.LOCK_SH) if record else None
    run = _read(Path(record)) if record else None
    if run is not None and run.token != token:
        raise UserError(
            f"The run that this job belongs to was killed, and another one ({run}) works now",
            "Nothing is to be done: that run does the job.",
        )
    return shared


def _folder(state: Path) -> Path:
    return state / "snakesteer"


def _record(results: str, state: Path) -> Path:
    """The record of who works on a results folder; locks lie beside it."""
    name = hashlib.sha256(os.path.abspath(results).encode()).hexdigest()[:16]
    return _folder(state) / f"{name}.json"


def _read(record: Path) -> LiveRun | None:
    try:
        return LiveRun(**read_json(record))
    except (UserError, TypeError):  # nobody yet, or a record of another version
        return None


def _left(run: LiveRun, state: Path) -> list[Path]:
    """Those lock files of a run that are still there, and not another run's of the same name."""
    found = []
    for name, written in run.locks.items():
        path = state / "locks" / name
        with suppress(FileNotFoundError):
            if path.stat().st_mtime_ns == written:
                found.append(path)
    return found


def _soon(path: Path) -> IO[str] | None:
    """A lock of one's own; None where another keeps it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (held := _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return held


def _lock(path: Path, kind: int) -> IO[str] | None:
    """An open file that is locked; None where another has it."""
    try:
        file = path.open("a+")  # over NFS a lock that is shared must be readable
    except PermissionError:
        file = path.open()  # another user's, in a folder that both may write to
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file
