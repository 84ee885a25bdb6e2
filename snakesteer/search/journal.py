"""Where a running study is kept, so that a crash, a kill or a time limit loses no finished trial.

By default an append-only file beside the results, which several processes may share, also over
NFS; or a database, named by the environment variable SNAKESTEER_STUDY_URL (such as
``postgresql://…``), never by the config, which is written into results.
"""

import logging
import os
import warnings
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from snakesteer.errors import UserError

logger = logging.getLogger(__name__)

STUDY_NAME = "snakesteer"
FINGERPRINT = "fingerprint"
WORKER = "worker"
URL_VARIABLE = "SNAKESTEER_STUDY_URL"


def open_study(
    journal: str | Path, fingerprint: str, pruner: BasePruner, worker: int, workers: int
) -> optuna.Study:
    """Open the study, or start a new one where its settings or inputs have changed.

    Trials that this worker was running when it died become failed ones.

    Args:
        journal: The side file.
        fingerprint: Of everything that the study's results depend on.
        pruner: Of the study.
        worker: Number of this process.
        workers: How many share the study.

    Raises:
        UserError: The journal is damaged, or the database cannot be reached.
    """
    path = Path(journal)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One worker at a time: the first one decides whether the study goes on or starts anew.
    with FileLock(path.with_name(f".{path.name}.opening")):
        study = _open(path, fingerprint, pruner, alone=workers == 1)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        if workers == 1 or trial.user_attrs.get(WORKER) == worker:
            study.tell(trial.number, state=TrialState.FAIL)
    if finished := len(finished_trials(study)):
        logger.info("going on after %d finished trials", finished)
    return study


def _open(path: Path, fingerprint: str, pruner: BasePruner, alone: bool) -> optuna.Study:
    url = os.environ.get(URL_VARIABLE)
    if url is not None:
        # A database holds many studies: each set of settings has its own.
        study = optuna.create_study(
            study_name=f"{STUDY_NAME}-{fingerprint[:16]}",
            storage=_database(url),
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        study.set_user_attr(FINGERPRINT, fingerprint)
        return study
    found = _load(path, pruner, alone) if path.exists() else None
    if found is not None and found.user_attrs.get(FINGERPRINT) == fingerprint:
        return found
    if found is not None:
        logger.warning(
            "settings or inputs of the search have changed: starting a new study (the journal of "
            "the old one is kept as %s.old)",
            path.name,
        )
        path.replace(path.with_name(path.name + ".old"))
    path.unlink(missing_ok=True)
    study = optuna.create_study(
        study_name=STUDY_NAME, storage=_storage(path), direction="maximize", pruner=pruner
    )
    study.set_user_attr(FINGERPRINT, fingerprint)
    return study


def load_finished(journal: str | Path, fingerprint: str) -> optuna.Study:
    """The study after its workers have ended."""
    url = os.environ.get(URL_VARIABLE)
    if url is not None:
        name = f"{STUDY_NAME}-{fingerprint[:16]}"
        return optuna.load_study(study_name=name, storage=_database(url))
    return optuna.load_study(study_name=STUDY_NAME, storage=_storage(Path(journal)))


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials: those that count."""
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])


def _load(path: Path, pruner: BasePruner, alone: bool) -> optuna.Study | None:
    if alone:
        _clean_up(path)
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=_storage(path), pruner=pruner)
    except KeyError:  # killed before the study was created
        return None
    except ValueError as error:
        raise UserError(
            f"The journal of the search, {path}, is damaged ({error})",
            "Delete it; the search starts anew.",
        ) from error


def _clean_up(path: Path) -> None:
    """Remove what a killed process left: its lock, and half a line that Optuna would add to."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _storage(path: Path) -> BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return JournalStorage(
            JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        )


def _database(url: str) -> RDBStorage:
    try:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:
        # SQLAlchemy and each driver have exception types of their own.
        raise UserError(
            f"The database of {URL_VARIABLE} cannot be opened ({type(error).__name__})",
            "Check the URL, that the server answers, and that its driver is installed; or unset "
            f"{URL_VARIABLE} to use a file.",
        ) from error
