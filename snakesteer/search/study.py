"""The Optuna study: rounds of trials on the validation split, journaled as they go.

A round asks for several trials, evaluates them together chunk by chunk, reports each one's
cumulative accuracy after every chunk, prunes, and tells the results in the order of the trials. The
journal is a side file; the declared study.db is written once, at the end, so that a killed search
goes on where it stopped. A trial's sampler is seeded by the study's seed and the trial's number:
one seed, one study.
"""

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.evaluation import Answer, accuracy
from snakesteer.search.space import PARAM_NAMES, Candidate, VectorKey, suggest, unsteered_start
from snakesteer.vectors import Vector

logger = logging.getLogger(__name__)

STUDY_NAME = "snakesteer"
FINGERPRINT = "fingerprint"

# What a finished trial keeps beside its parameters.
COSTS = ("accuracy_by_chunk", "problems", "new_tokens", "invalid")

# Candidates and the number of a chunk in, each candidate's answers to that chunk out.
EvaluateChunk = Callable[[Sequence[Candidate], int], list[list[Answer]]]


@dataclass
class _Running:
    """A trial of the round that is being evaluated."""

    trial: optuna.Trial
    candidate: Candidate
    answers: list[Answer] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    pruned: bool = False


def open_study(journal: str | Path, search: SearchConfig, fingerprint: str) -> optuna.Study:
    """Open the journaled study, or start a new one where its settings or inputs have changed.

    Trials that were running when an earlier process died become failed ones.

    Args:
        journal: The side file.
        search: Pruner and seed.
        fingerprint: Of everything that the study's results depend on.

    Raises:
        UserError: The journal is damaged.
    """
    path = Path(journal)
    path.parent.mkdir(parents=True, exist_ok=True)
    study = _load(path, search)
    if study is not None and study.user_attrs.get(FINGERPRINT) != fingerprint:
        logger.warning(
            "settings or inputs of the search have changed: starting a new study (the journal of "
            "the old one is kept as %s.old)",
            path.name,
        )
        path.replace(path.with_name(path.name + ".old"))
        study = None
    if study is None:
        study = optuna.create_study(
            study_name=STUDY_NAME,
            storage=_storage(path),
            direction="maximize",
            pruner=_pruner(search),
        )
        study.set_user_attr(FINGERPRINT, fingerprint)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
    finished = len(_finished(study))
    if finished:
        logger.info("going on after %d finished trials", finished)
    return study


def run_study(
    study: optuna.Study,
    search: SearchConfig,
    steering: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, Vector],
    num_chunks: int,
    baseline: Sequence[Answer],
    evaluate_chunk: EvaluateChunk,
    on_round: Callable[[optuna.Study], None] = lambda study: None,
) -> None:
    """Run trials until the study has as many finished ones as the config asks for.

    The first trial is no steering, and where it failed, so is the next one: it can always win. A
    trial without steering is answered from the baseline and is never pruned. A failure marks the
    round's trials as failed, with its message, and is raised again: it is never a score.

    Args:
        study: From `open_study`.
        search: Number of trials, sampler, chunk size.
        steering: The search space.
        layers: Layers to choose from.
        vectors: All vectors that may be chosen.
        num_chunks: Number of chunks of the validation split.
        baseline: Unsteered answers to the whole validation split.
        evaluate_chunk: Answers one chunk under several candidates.
        on_round: Called after every round.
    """
    if not _has_unsteered(study):
        study.enqueue_trial(unsteered_start(steering, layers))
    while (missing := search.n_trials - len(_finished(study))) > 0:
        running = [
            _ask(study, search, steering, layers, vectors)
            for _ in range(min(missing, search.trials_per_round))
        ]
        try:
            _evaluate_round(running, num_chunks, search.chunk_size, baseline, evaluate_chunk)
        except BaseException as error:
            for member in running:
                member.trial.set_user_attr("error", f"{type(error).__name__}: {error}")
                study.tell(member.trial, state=TrialState.FAIL)
            raise
        for member in running:
            _tell(study, member)
        on_round(study)


def _ask(
    study: optuna.Study,
    search: SearchConfig,
    steering: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, Vector],
) -> _Running:
    asked = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
    study.sampler = _sampler(search, len(asked))
    trial = study.ask()
    candidate = suggest(trial, steering, layers, vectors)
    for name, value in candidate.params().items():
        trial.set_user_attr(name, value)
    return _Running(trial, candidate)


def _evaluate_round(
    running: Sequence[_Running],
    num_chunks: int,
    chunk_size: int,
    baseline: Sequence[Answer],
    evaluate_chunk: EvaluateChunk,
) -> None:
    for chunk in range(num_chunks):
        going = [member for member in running if not member.pruned]
        steered = [member for member in going if member.candidate.alpha != 0.0]
        span = slice(chunk * chunk_size, (chunk + 1) * chunk_size)
        for member in going:
            if member.candidate.alpha == 0.0:
                member.answers += baseline[span]
        if steered:
            answers = evaluate_chunk([member.candidate for member in steered], chunk)
            for member, found in zip(steered, answers, strict=True):
                member.answers += found
        for member in going:
            member.accuracies.append(accuracy(member.answers))
            member.trial.report(member.accuracies[-1], step=chunk)
            last = chunk == num_chunks - 1
            prunable = not last and member.candidate.alpha != 0.0
            member.pruned = prunable and member.trial.should_prune()


def _tell(study: optuna.Study, member: _Running) -> None:
    trial, answers = member.trial, member.answers
    values = (
        member.accuracies,
        len(answers),
        sum(answer.new_tokens for answer in answers),
        sum(answer.extracted is None for answer in answers),
    )
    for name, value in zip(COSTS, values, strict=True):
        trial.set_user_attr(name, value)
    if member.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, member.accuracies[-1])


def choose_best(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials, the best first: highest accuracy, then smallest dose, then earliest."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]

    def rank(trial: FrozenTrial) -> tuple[float, float, int]:
        return (-(trial.value or 0.0), abs(trial.user_attrs["steering_dose"]), trial.number)

    return sorted(complete, key=rank)


def trial_rows(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Trials as rows of trials.csv: number, state, accuracy, parameters, and what they cost."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "accuracy": _value(trial),
            **{name: trial.user_attrs.get(name) for name in (*PARAM_NAMES, *COSTS)},
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            "error": trial.user_attrs.get("error"),
        }
        for trial in trials
    ]


def _value(trial: FrozenTrial) -> float | None:
    """The accuracy of a finished trial; for a pruned one over the problems it was given."""
    if trial.value is not None:
        return float(trial.value)
    steps = trial.intermediate_values
    return steps[max(steps)] if steps else None


def _has_unsteered(study: optuna.Study) -> bool:
    """Whether the unsteered trial is complete, or waits to be run."""
    return any(
        trial.state == TrialState.WAITING
        or (trial.state == TrialState.COMPLETE and trial.user_attrs["steering_alpha"] == 0.0)
        for trial in study.get_trials(deepcopy=False)
    )


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])


def _load(path: Path, search: SearchConfig) -> optuna.Study | None:
    if not path.exists():
        return None
    _drop_half_line(path)
    try:
        return optuna.load_study(
            study_name=STUDY_NAME, storage=_storage(path), pruner=_pruner(search)
        )
    except KeyError:  # killed before the study was created
        return None
    except ValueError as error:
        raise UserError(
            f"The journal of the search, {path}, is damaged ({error})",
            "Delete it; the search starts anew.",
        ) from error


def _drop_half_line(path: Path) -> None:
    """Cut off what a process wrote when it died: Optuna appends to it, and then reads nonsense."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _storage(path: Path) -> JournalStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return JournalStorage(
            JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        )


def _sampler(search: SearchConfig, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial, with a seed of its own: a resumed study does not repeat itself."""
    seed = (search.seed * 1_000_003 + number) % 2**32
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=search.n_startup_trials,
            # Trials of one round do not know each other's results: this keeps them apart.
            constant_liar=search.trials_per_round > 1,
            seed=seed,
        )


def _pruner(search: SearchConfig) -> optuna.pruners.BasePruner:
    if search.pruner == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=search.pruner_startup_trials,
        n_warmup_steps=search.pruner_warmup_chunks,
    )
