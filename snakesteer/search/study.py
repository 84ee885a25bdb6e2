"""The Optuna study: rounds of trials on the validation split.

A round asks for several trials, evaluates them together chunk by chunk, reports each one's results
after every chunk, prunes, and tells them in the order of the trials. A trial's sampler is seeded by
the study's seed and the trial's number: one worker and one seed give one study.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.evaluation.answers import Answer, accuracy
from snakesteer.evaluation.delivered import DELIVERED, delivered_dose
from snakesteer.search.grid import grid_points
from snakesteer.search.journal import WORKER, finished_trials
from snakesteer.search.samplers import make_sampler
from snakesteer.steering.build import steered_layers
from snakesteer.steering.candidate import PARAM_NAMES, STEERED_LAYERS, Candidate, VectorKey
from snakesteer.steering.space import suggest, trained_starts, unsteered_start
from snakesteer.steering.vector import AnyVector

logger = logging.getLogger(__name__)

# What a finished trial keeps beside its parameters.
COSTS = ("accuracy_by_chunk", "problems", "new_tokens", "invalid")
# Which of the problems a trial answered correctly: a text with 1 or 0 for each.
OUTCOMES = "outcomes"
# Trials that have ended well or are running: no others are asked for in their place.
CLAIMED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)

NO_LOCK: AbstractContextManager[Any] = nullcontext()

# Candidates and the number of a chunk in, each candidate's answers to that chunk out.
EvaluateChunk = Callable[[Sequence[Candidate], int], list[list[Answer]]]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a study is run with.

    Attributes:
        search: Number of trials, sampler, pruner.
        steering: The search space.
        layers: Layers to choose from.
        vectors: All vectors that may be chosen.
        baseline: Unsteered answers to the whole validation split.
        num_chunks: Number of chunks of the validation split.
        trials_per_round: Trials evaluated together.
        worker: Number of this process among those that share the study.
    """

    search: SearchConfig
    steering: SteeringConfig
    layers: Sequence[int]
    vectors: Mapping[VectorKey, AnyVector]
    baseline: Sequence[Answer]
    num_chunks: int
    trials_per_round: int
    worker: int = 0

    def chunk(self, number: int) -> slice:
        """Where a chunk lies in the validation split."""
        size = self.search.chunk_size
        return slice(number * size, (number + 1) * size)


@dataclass
class _Running:
    """A trial of the round that is being evaluated."""

    trial: optuna.Trial
    candidate: Candidate
    answers: list[Answer] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    pruned: bool = False


def run_study(
    study: optuna.Study,
    plan: Plan,
    evaluate_chunk: EvaluateChunk,
    on_round: Callable[[optuna.Study], None] = lambda study: None,
    lock: AbstractContextManager[Any] = NO_LOCK,
) -> None:
    """Run trials until the study has as many as the config asks for.

    The first trial is no steering, and where it failed, so is the next one: it can always win. It
    is answered from the baseline and is never pruned; a configuration that comes again is answered
    from memory. A failure marks the round's trials as failed, with its message, and is raised
    again: it is never a score.

    Args:
        study: From `open_study`.
        plan: What it is run with.
        evaluate_chunk: Answers one chunk under several candidates.
        on_round: Called after every round.
        lock: Held while trials are asked for, against other workers.
    """
    memory: dict[Candidate, Sequence[Answer]] = {}
    while running := _ask_round(study, plan, lock):
        try:
            _evaluate_round(running, plan, memory, evaluate_chunk)
        except BaseException as error:
            for member in running:
                _fail(study, member.trial, f"{type(error).__name__}: {error}")
            raise
        for member in running:
            _tell(study, member)
            if not member.pruned:
                memory[member.candidate] = member.answers
        on_round(study)


def _ask_round(
    study: optuna.Study, plan: Plan, lock: AbstractContextManager[Any]
) -> list[_Running]:
    """New trials, no more than are missing; empty when there are enough."""
    with lock:
        claimed = study.get_trials(deepcopy=False, states=CLAIMED)
        missing = plan.search.n_trials - len(claimed)
        return [_ask(study, plan) for _ in range(min(missing, plan.trials_per_round))]


def _ask(study: optuna.Study, plan: Plan) -> _Running:
    trials = study.get_trials(deepcopy=False)
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    if not waiting and (point := _given_point(trials, plan)) is not None:
        study.enqueue_trial(point)
    number = len(trials) - len(waiting)
    seed = (plan.search.seed * 1_000_003 + plan.worker * 7_919 + number) % 2**32
    in_parallel = plan.trials_per_round > 1 or plan.search.workers > 1
    study.sampler = make_sampler(plan.search, seed, in_parallel)
    trial = study.ask()
    trial.set_user_attr(WORKER, plan.worker)
    candidate = suggest(trial, plan.steering, plan.layers, plan.vectors)
    for name, value in candidate.params().items():
        trial.set_user_attr(name, value)
    trial.set_user_attr(STEERED_LAYERS, steered_layers(candidate, plan.vectors))
    return _Running(trial, candidate)


def _given_point(trials: Sequence[FrozenTrial], plan: Plan) -> dict[str, Any] | None:
    """The next point that is not the sampler's to choose.

    They are no steering, then trained vectors as they were trained, or all points of the grid.
    """
    claimed = [trial for trial in trials if trial.state in CLAIMED]
    if all(trial.user_attrs.get("steering_alpha") != 0.0 for trial in claimed):
        return unsteered_start(plan.steering, plan.layers)
    grid = plan.search.sampler == "grid"
    points = (
        grid_points(plan.search, plan.steering, plan.layers)
        if grid
        else trained_starts(plan.steering, plan.layers, plan.vectors)
    )
    taken = {tuple(sorted(trial.params.items())) for trial in claimed}
    left = (point for point in points if tuple(sorted(point.items())) not in taken)
    return next(left) if grid else next(left, None)


def _evaluate_round(
    running: Sequence[_Running],
    plan: Plan,
    memory: Mapping[Candidate, Sequence[Answer]],
    evaluate_chunk: EvaluateChunk,
) -> None:
    for chunk in range(plan.num_chunks):
        going = [member for member in running if not member.pruned]
        unknown: dict[Candidate, list[Answer]] = {}
        for member in going:
            if _known(member.candidate, plan, memory) is None:
                unknown.setdefault(member.candidate, [])
        if unknown:
            answers = evaluate_chunk(list(unknown), chunk)
            unknown = dict(zip(unknown, answers, strict=True))
        for member in going:
            known = _known(member.candidate, plan, memory)
            found = unknown[member.candidate] if known is None else known[plan.chunk(chunk)]
            _report(member, found, plan, chunk)


def _known(
    candidate: Candidate, plan: Plan, memory: Mapping[Candidate, Sequence[Answer]]
) -> Sequence[Answer] | None:
    """Answers that need no computation: the baseline's without steering, or an earlier trial's."""
    return plan.baseline if candidate.alpha == 0.0 else memory.get(candidate)


def _report(member: _Running, found: Sequence[Answer], plan: Plan, chunk: int) -> None:
    """Report a chunk, and let the pruner decide."""
    if plan.search.pruner == "wilcoxon":
        # It pairs trials problem by problem.
        for number, answer in enumerate(found, start=len(member.answers)):
            member.trial.report(float(answer.correct), step=number)
    member.answers += found
    member.accuracies.append(accuracy(member.answers))
    if plan.search.pruner != "wilcoxon":
        member.trial.report(member.accuracies[-1], step=chunk)
    prunable = chunk < plan.num_chunks - 1 and member.candidate.alpha != 0.0
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
    trial.set_user_attr(OUTCOMES, "".join("1" if answer.correct else "0" for answer in answers))
    for name, value in delivered_dose(member.candidate.dose, answers).items():
        trial.set_user_attr(name, value)
    if member.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, member.accuracies[-1])


def _fail(study: optuna.Study, trial: optuna.Trial, message: str) -> None:
    trial.set_user_attr("error", message)
    study.tell(trial, state=TrialState.FAIL)


def trial_rows(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Trials as rows of trials.csv: number, state, accuracy, parameters, costs, delivered dose."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "accuracy": accuracy_of(trial),
            **{name: trial.user_attrs.get(name) for name in (*PARAM_NAMES, *COSTS, *DELIVERED)},
            "worker": trial.user_attrs.get(WORKER),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            "error": trial.user_attrs.get("error"),
        }
        for trial in trials
    ]


def delivered(trial: FrozenTrial) -> dict[str, float]:
    """What a trial's dose delivered in its answers, see `delivered_dose`; empty if it failed."""
    return {name: trial.user_attrs[name] for name in DELIVERED if name in trial.user_attrs}


def accuracy_of(trial: FrozenTrial) -> float | None:
    """Over all problems that a trial was given; a pruned one saw fewer."""
    by_chunk = trial.user_attrs.get("accuracy_by_chunk")
    return by_chunk[-1] if by_chunk else None


def enough(study: optuna.Study, n_trials: int) -> bool:
    """Whether as many trials have ended well as were asked for."""
    return len(finished_trials(study)) >= n_trials
