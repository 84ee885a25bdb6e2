"""The search as one call: open the study, run it, write study.db and trials.csv."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import TrialState
from tqdm import tqdm

from snakesteer.config import GenerationConfig, SearchConfig, SteeringConfig, section
from snakesteer.data.problem import read_problems
from snakesteer.engine.interface import Engine
from snakesteer.evaluation import Answer, answer_all, chunks, read_answers
from snakesteer.files import atomic_path, sha256_file
from snakesteer.prompts import Prompter
from snakesteer.search.space import Candidate
from snakesteer.search.study import STUDY_NAME, open_study, run_study, trial_rows
from snakesteer.vectors import read_vector

logger = logging.getLogger(__name__)

# More trials extend a study; everything else about it makes another study.
NOT_IN_FINGERPRINT = ("search__n_trials", "journal", "record")


@dataclass(frozen=True)
class SearchInputs:
    """What the study's results depend on.

    Attributes:
        problems: The validation split.
        baseline: Unsteered answers to it.
        vectors: All vector files.
        others: Further files: the baseline's record of engine and machine, and the code.
        layers: Layers to choose from.
        params: The rule's parameters.
    """

    problems: str
    baseline: str
    vectors: tuple[str, ...]
    others: tuple[str, ...]
    layers: tuple[int, ...]
    params: Mapping[str, Any]

    def fingerprint(self) -> str:
        """A hash of parameters and file contents; a study goes on only where it is the same."""
        params = {k: v for k, v in self.params.items() if k not in NOT_IN_FINGERPRINT}
        paths = (self.problems, self.baseline, *self.vectors, *self.others)
        files = [sha256_file(path) for path in paths]
        text = json.dumps([params, self.layers, files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def search(
    inputs: SearchInputs,
    prompter: Prompter,
    engine: Engine,
    journal: str | Path,
    db: str | Path,
    trials: str | Path,
    check: Callable[[], None],
) -> None:
    """Run the study to its end and write its results.

    Args:
        inputs: What the results depend on.
        prompter: Builds the prompts.
        engine: Answers them.
        journal: Side file that keeps finished trials through a crash.
        db: SQLite study, written at the end.
        trials: CSV of all trials, written at the end.
        check: Raises where steered and unsteered answers do not compare; called whenever some have
            come, so that they never become a score.
    """
    settings = section(SearchConfig, "search", inputs.params)
    steering = section(SteeringConfig, "steering", inputs.params)
    generation = section(GenerationConfig, "generation", inputs.params)
    vectors = {(v.direction, v.layer): v for v in map(read_vector, inputs.vectors)}
    parts = chunks(read_problems(inputs.problems), settings.chunk_size)

    def evaluate_chunk(candidates: Sequence[Candidate], chunk: int) -> list[list[Answer]]:
        steerings = [candidate.steering(vectors) for candidate in candidates]
        answers = answer_all(engine, prompter, parts[chunk], steerings, generation)
        check()
        return answers

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(journal, settings, inputs.fingerprint())
    with tqdm(total=settings.n_trials, unit="trial", desc="search", disable=None) as bar:

        def after_round(study: optuna.Study) -> None:
            trials = study.get_trials(deepcopy=False)
            pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
            bar.n = sum(trial.state == TrialState.COMPLETE for trial in trials) + pruned
            bar.set_postfix_str(f"best {study.best_value:.1%}, pruned {pruned}")
            logger.info("%d trials, best %.4f, pruned %d", bar.n, study.best_value, pruned)

        run_study(
            study,
            settings,
            steering,
            inputs.layers,
            vectors,
            len(parts),
            read_answers(inputs.baseline),
            evaluate_chunk,
            after_round,
        )
    write_trials(trials, study)
    write_db(db, study)


def write_trials(path: str | Path, study: optuna.Study) -> None:
    """Write all trials as CSV, atomically; accuracies per chunk as one JSON list."""
    rows = trial_rows(study.trials)
    for row in rows:
        row["accuracy_by_chunk"] = json.dumps(row["accuracy_by_chunk"])
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def write_db(path: str | Path, study: optuna.Study) -> None:
    """Copy a study into an SQLite file of its own, atomically."""
    with atomic_path(path) as temporary:
        storage = optuna.storages.RDBStorage(f"sqlite:///{temporary.resolve()}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.copy_study(
                from_study_name=STUDY_NAME, from_storage=study._storage, to_storage=storage
            )
        storage.remove_session()
        storage.engine.dispose()


def read_db(path: str | Path) -> optuna.Study:
    """Open the study in an SQLite file."""
    return optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{Path(path).resolve()}")
