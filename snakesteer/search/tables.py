"""The study's tables, written when all workers have ended: study.db and trials.csv."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
import pandas as pd

from snakesteer.errors import UserError
from snakesteer.records.files import atomic_path, read_json
from snakesteer.search.journal import STUDY_NAME, load_finished
from snakesteer.search.objectives import front_of
from snakesteer.search.study import enough, trial_rows


def collect(
    journal: str | Path, workers: Sequence[str], n_trials: int, db: str | Path, trials: str | Path
) -> None:
    """Write the study's tables when all workers have ended.

    Args:
        journal: The side file.
        workers: What the workers wrote.
        n_trials: Trials that the study must have.
        db: SQLite study, opens in optuna-dashboard.
        trials: CSV of all trials.

    Raises:
        UserError: Trials are missing, because a worker failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = load_finished(journal, read_json(workers[0])["fingerprint"])
    if not enough(study, n_trials):
        raise UserError(
            f"The study has fewer than {n_trials} finished trials",
            f"A worker failed: delete {workers[0]} and run snakemake again; finished trials stay.",
        )
    _write_trials(trials, study)
    _write_db(db, study)


def _write_trials(path: str | Path, study: optuna.Study) -> None:
    """All trials as CSV, atomically; accuracies per chunk as one JSON list."""
    rows = trial_rows(study.get_trials(deepcopy=False), front_of(study))
    for row in rows:
        row["accuracy_by_chunk"] = json.dumps(row["accuracy_by_chunk"])
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def _write_db(path: str | Path, study: optuna.Study) -> None:
    """A copy of the study in an SQLite file of its own, atomically."""
    with atomic_path(path) as temporary:
        storage = optuna.storages.RDBStorage(f"sqlite:///{temporary.resolve()}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.copy_study(
                from_study_name=study.study_name,
                from_storage=study._storage,
                to_storage=storage,
                to_study_name=STUDY_NAME,
            )
        storage.remove_session()
        storage.engine.dispose()
