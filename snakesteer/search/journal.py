"""Where a running study is kept, so that a crash, a kill or a time limit loses no finished trial.

By default an append-only file beside the results, which several processes may share, over a network
too where its file system has locks (NFS version 4, Lustre with ``flock``); or a database, named by
the environment variable SNAKESTEER_STUDY_URL (such as ``postgresql://…``), never by the config,
which is written into results.
"""

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError

from snakesteer.errors import UserError
from snakesteer.records.library_causes import DATABASE, JOURNAL
from snakesteer.records.library_errors import told
from snakesteer.records.paths import expanded
from snakesteer.search.outages import URL_VARIABLE, check_url

logger = logging.getLogger(__name__)

STUDY_NAME = "snakesteer"
JOURNAL_NAME = "journal.log"  # beside the study's outputs
FINGERPRINT = "fingerprint"
SETTINGS = "settings"
WORKER = "worker"
KEPT_ALIVE = {"pool_pre_ping": True}  # a connection is tried before it is used


@contextmanager
def one_process(journal: str | Path, worker: int) -> Iterator[None]:
    """Run the block in one process of a worker at a time.

    Jobs outlive a Snakemake that was killed: the worker's next process waits until such a job ends.

    Args:
        journal: The side file.
        worker: Number of this process.
    """
    lock = _file_lock(journal, f"worker_{worker}")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("an earlier process of this worker still runs: waiting until it ends")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def ask_lock(journal: str | Path) -> FileLock:
    """Held by the one worker that asks for trials or opens the study.

    Without it, two workers that ask at the same moment would ask for one trial too many, and for
    the same point of a sequence or a grid.

    Args:
        journal: The side file.
    """
    return _file_lock(journal, "ask")


def open_study(
    journal: str | Path,
    fingerprint: str,
    pruner: BasePruner,
    workers: int,
    settings: Mapping[str, Any] | None = None,
    directions: Sequence[str] = ("maximize",),
) -> optuna.Study:
    """Open the study, or start a new one where its settings or inputs have changed.

    Trials that a worker was running which is no longer there become failed ones.

    Args:
        journal: The side file.
        fingerprint: Of everything that the study's results depend on.
        pruner: Of the study.
        workers: How many share the study.
        settings: What the fingerprint is made of, by names, to say what has changed.
        directions: Of the objectives.

    Raises:
        UserError: The journal is damaged, or the database cannot be reached.
    """
    path = Path(journal)
    # The first worker decides whether the study goes on or starts anew.
    with ask_lock(path):
        study = _open(path, fingerprint, pruner, settings or {}, directions)
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.user_attrs.get(WORKER, workers) >= workers:
                study.tell(trial.number, state=TrialState.FAIL)
    if finished := len(finished_trials(study)):
        logger.info("going on after %d finished trials", finished)
    return study


def _file_lock(journal: str | Path, name: str) -> FileLock:
    """A lock that the kernel frees when its process ends, however it ends."""
    path = Path(journal)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f"{path.name}.{name}"))


def _open(
    path: Path,
    fingerprint: str,
    pruner: BasePruner,
    settings: Mapping[str, Any],
    directions: Sequence[str],
) -> optuna.Study:
    url = _url()
    if url is not None:
        # A database holds many studies: each set of settings has its own.
        study = optuna.create_study(
            study_name=f"{STUDY_NAME}-{fingerprint[:16]}",
            storage=_database(url),
            directions=directions,
            pruner=pruner,
            load_if_exists=True,
        )
        study.set_user_attr(FINGERPRINT, fingerprint)
        return study
    found = _load(path, pruner) if path.exists() else None
    if found is not None:
        if found.user_attrs[FINGERPRINT] == fingerprint:
            return found
        logger.warning(
            "%s: starting a new study (the journal of the old one is kept as %s.old)",
            _changes(found.user_attrs.get(SETTINGS, {}), settings),
            path.name,
        )
        path.replace(path.with_name(path.name + ".old"))
    path.unlink(missing_ok=True)
    study = optuna.create_study(
        study_name=STUDY_NAME, storage=_storage(path), directions=directions, pruner=pruner
    )
    study.set_user_attr(SETTINGS, dict(settings))
    study.set_user_attr(FINGERPRINT, fingerprint)
    return study


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which settings and inputs differ, in words."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    shown = ", ".join(name.replace("__", ".") for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"changed since the last search: {shown or 'settings or inputs'}{more}"


def load_finished(journal: str | Path, fingerprint: str) -> optuna.Study:
    """The study after its workers have ended.

    Raises:
        UserError: It is not there, or damaged.
    """
    url = _url()
    path = Path(journal)
    try:
        if url is not None:
            name = f"{STUDY_NAME}-{fingerprint[:16]}"
            return optuna.load_study(study_name=name, storage=_database(url))
        if not path.exists():  # Optuna would make an empty one
            raise KeyError(path)
        return optuna.load_study(study_name=STUDY_NAME, storage=_read(path))
    except KeyError:
        where = path if url is None else f"the database of {URL_VARIABLE}"
        raise UserError(
            f"The study of the search is not in {where}",
            f"{URL_VARIABLE} must be the same, or unset, for all jobs; where the study was "
            "deleted, delete study/worker_*.json too and run snakemake again.",
        ) from None


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials: those that count."""
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])


def _load(path: Path, pruner: BasePruner) -> optuna.Study | None:
    """The study of a journal; None where its process was killed before it was complete."""
    storage = _read(path)
    try:
        study = optuna.load_study(study_name=STUDY_NAME, storage=storage, pruner=pruner)
    except KeyError:
        return None
    return study if FINGERPRINT in study.user_attrs else None


def _read(path: Path) -> BaseStorage:
    with told(JOURNAL, f"The journal of the search, {path},", "is damaged"):
        return _storage(path)


class _JournalLock:
    """Optuna's lock around each write, kept by the kernel; Optuna's own outlive a killed process.

    It also removes half a line that such a process has left: Optuna would write on behind it, and
    the journal could no longer be read.
    """

    def __init__(self, path: Path) -> None:
        self._journal = path
        self._lock = _file_lock(path, "lock")

    def acquire(self) -> bool:
        """Wait for the lock, then make sure that the journal ends with a whole line."""
        self._lock.acquire()
        with self._journal.open("rb+") as file:
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let the next one write."""
        self._lock.release()


def _storage(path: Path) -> BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_JournalLock(path)))


def _url() -> str | None:
    """The database that the environment names; of SQLite, with the path written out."""
    url = os.environ.get(URL_VARIABLE) or None
    scheme, mark, path = (url or "").partition(":///")
    return scheme + mark + expanded(path, URL_VARIABLE) if scheme.startswith("sqlite") else url


def _database(url: str) -> RDBStorage:
    check_url(url)
    with told(DATABASE, f"The database of {URL_VARIABLE}", "cannot be opened"):
        try:
            return RDBStorage(url, engine_kwargs=dict(KEPT_ALIVE))
        except (DBAPIError, optuna.exceptions.StorageInternalError):
            time.sleep(1.0)  # another run may be making the tables of an empty database
            return RDBStorage(url, engine_kwargs=dict(KEPT_ALIVE))
