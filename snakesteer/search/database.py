"""Reading study.db, without all that a search needs."""

from pathlib import Path

import optuna
from sqlalchemy.exc import DatabaseError

from snakesteer.errors import UserError
from snakesteer.search.journal import STUDY_NAME


def read_db(path: str | Path) -> optuna.Study:
    """Open the study in an SQLite file.

    Raises:
        UserError: The file is damaged, or holds no study.
    """
    try:
        storage = f"sqlite:///{Path(path).resolve()}"
        return optuna.load_study(study_name=STUDY_NAME, storage=storage)
    except (DatabaseError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a readable study ({type(error).__name__})",
            "Delete it and run snakemake again; finished trials are in the journal.",
        ) from error
