"""Reading study.db, without all that a search needs."""

from pathlib import Path

import optuna

from snakesteer.records.library_causes import STUDY
from snakesteer.records.library_errors import told
from snakesteer.search.journal import STUDY_NAME


def read_db(path: str | Path) -> optuna.Study:
    """Open the study in an SQLite file.

    Raises:
        UserError: The file is damaged, locked, or holds no study.
    """
    with told(STUDY, str(path), "is not a readable study"):
        storage = f"sqlite:///{Path(path).resolve()}"
        return optuna.load_study(study_name=STUDY_NAME, storage=storage)
