"""The search as two calls: a worker's share of the study, and its tables when all have ended."""

import hashlib
import json
import logging
import time
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
from snakesteer.errors import UserError
from snakesteer.evaluation import Answer, answer_all, chunks, read_answers
from snakesteer.files import atomic_path, read_json, sha256_file, write_json
from snakesteer.prompts import Prompter
from snakesteer.search.journal import STUDY_NAME, load_finished, open_study
from snakesteer.search.samplers import make_pruner
from snakesteer.search.space import Candidate
from snakesteer.search.study import Plan, enough, run_study, trial_rows
from snakesteer.vectors import read_vector

logger = logging.getLogger(__name__)

# More trials and more workers extend a study; everything else about it makes another study.
NOT_IN_FINGERPRINT = (
    "search__n_trials",
    "search__workers",
    "search__one_standard_error",
    "journal",
    "record",
)


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
    rows: int,
    journal: str | Path,
    worker: int,
    output: str | Path,
    check: Callable[[], None],
) -> None:
    """Run a worker's share of the study, until there are enough trials.

    Args:
        inputs: What the results depend on.
        prompter: Builds the prompts.
        engine: Answers them.
        rows: Requests that the engine decodes together.
        journal: Side file that keeps finished trials through a crash.
        worker: Number of this process.
        output: JSON file, written at the end.
        check: Raises where steered and unsteered answers do not compare; called whenever some have
            come, so that they never become a score.
    """
    settings = section(SearchConfig, "search", inputs.params)
    generation = section(GenerationConfig, "generation", inputs.params)
    vectors = {(v.direction, v.layer): v for v in map(read_vector, inputs.vectors)}
    parts = chunks(read_problems(inputs.problems), settings.chunk_size)
    plan = Plan(
        search=settings,
        steering=section(SteeringConfig, "steering", inputs.params),
        layers=inputs.layers,
        vectors=vectors,
        baseline=read_answers(inputs.baseline),
        num_chunks=len(parts),
        trials_per_round=settings.trials_per_round or max(1, rows // settings.chunk_size),
        worker=worker,
    )
    tokens = 0

    def evaluate_chunk(candidates: Sequence[Candidate], chunk: int) -> list[list[Answer]]:
        nonlocal tokens
        steerings = [candidate.steering(vectors) for candidate in candidates]
        answers = answer_all(engine, prompter, parts[chunk], steerings, generation)
        check()
        tokens += sum(answer.new_tokens for found in answers for answer in found)
        return answers

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fingerprint = inputs.fingerprint()
    pruner = make_pruner(settings, len(parts))
    study = open_study(journal, fingerprint, pruner, worker, settings.workers)
    started = time.monotonic()
    with tqdm(total=settings.n_trials, unit="trial", desc="search", disable=None) as bar:

        def after_round(study: optuna.Study) -> None:
            trials = study.get_trials(deepcopy=False)
            values = [t.value or 0.0 for t in trials if t.state == TrialState.COMPLETE]
            pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
            bar.n = len(values) + pruned
            rate = tokens / (time.monotonic() - started)
            text = f"best {max(values, default=0.0):.1%}, pruned {pruned}, {rate:.0f} tokens/s"
            bar.set_postfix_str(text)
            logger.info("%d of %d trials, %s", bar.n, settings.n_trials, text)

        run_study(study, plan, evaluate_chunk, after_round)
    seconds = time.monotonic() - started
    write_json(output, {"fingerprint": fingerprint, "new_tokens": tokens, "seconds": seconds})


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
    rows = trial_rows(study.get_trials(deepcopy=False))
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


def read_db(path: str | Path) -> optuna.Study:
    """Open the study in an SQLite file."""
    return optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{Path(path).resolve()}")
