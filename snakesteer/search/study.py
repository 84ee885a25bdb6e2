"""The Optuna study: trials in flight on the validation split.

Several trials are evaluated at the same time, each chunk by chunk, and none waits for another: the
next trial is asked for when the first of them has its result. Results are told in the order of the
trials. A trial's sampler is seeded by the study's seed and the trial's number: one worker and one
seed give one study.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from snakesteer.evaluation.delivered import DELIVERED, delivered_dose
from snakesteer.search.asking import ask, candidate_of
from snakesteer.search.board import Board, Desk, Member
from snakesteer.search.course import Course
from snakesteer.search.journal import WORKER, finished_trials
from snakesteer.search.objectives import CONSTRAINTS, KL, kl_of, measured_kl
from snakesteer.search.outages import is_outage
from snakesteer.search.plan import Plan
from snakesteer.steering.candidate import PARAM_NAMES

# What a finished trial keeps beside its parameters.
COSTS = ("accuracy_by_chunk", "problems", "new_tokens", "invalid")
# Which of the problems a trial answered correctly: a text with 1 or 0 for each. A trial that has it
# has ended.
OUTCOMES = "outcomes"

NO_LOCK: AbstractContextManager[Any] = nullcontext()


def run_study(
    study: optuna.Study,
    plan: Plan,
    desk: Desk,
    on_told: Callable[[optuna.Study], None] = lambda study: None,
    lock: AbstractContextManager[Any] = NO_LOCK,
) -> None:
    """Run trials until the study has as many as the config asks for.

    The first trial is no steering, and where it failed, so is the next one: it can always win. It
    is answered from the baseline and is never pruned; a configuration that comes again is answered
    from memory. A failure marks the trials that have not ended as failed, with its message, and is
    raised again: it is never a score. Whatever else stops the process leaves them running, and the
    next one goes on with them.

    Args:
        study: From `open_study`.
        plan: What it is run with.
        desk: Answers chunks.
        on_told: Called whenever a trial has been told.
        lock: Held while a trial is asked for, against other workers.
    """
    board = Board(plan, desk)
    flight = [_member(study, trial, plan) for trial in _running(study, plan)]
    while True:
        while len(flight) < plan.trials_in_flight and (trial := _ask(study, plan, lock)):
            flight.append(_member(study, trial, plan))
        if not flight:
            return
        try:
            _weigh(study, flight, plan)
            _evaluate(study, flight, board)
        except Exception as error:
            for member in flight:
                if not member.course.ended and not is_outage(error):
                    _fail(study, member.number, f"{type(error).__name__}: {error}")
            raise
        _tell(study, flight.pop(0))
        on_told(study)


def _running(study: optuna.Study, plan: Plan) -> list[FrozenTrial]:
    """The trials that an earlier process of this worker has left."""
    found = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    return [trial for trial in found if trial.user_attrs.get(WORKER) == plan.worker]


def _ask(study: optuna.Study, plan: Plan, lock: AbstractContextManager[Any]) -> FrozenTrial | None:
    with lock:
        return ask(study, plan)


def _member(study: optuna.Study, trial: FrozenTrial, plan: Plan) -> Member:
    """A trial as it enters the flight; one that had ended comes with its outcomes."""
    candidate = candidate_of(trial, plan)
    course = Course(study, trial, plan, prunable=candidate.alpha != 0.0)
    outcomes = [mark == "1" for mark in trial.user_attrs.get(OUTCOMES, "")]
    while len(course.outcomes) < len(outcomes):
        course.add(outcomes[plan.chunk(course.chunk)])
    return Member(trial.number, candidate, course)


def _weigh(study: optuna.Study, flight: Sequence[Member], plan: Plan) -> None:
    """Write down what each trial costs on neutral text, and end those that are over the budget."""
    if plan.cost is None:
        return
    trials, budget = study.get_trials(deepcopy=False), plan.search.kl_budget
    for member in flight:
        kl = kl_of(trials[member.number])
        if kl is None:
            kl = measured_kl(member.candidate, plan.cost)
            trial_id = _id(study, member.number)
            study._storage.set_trial_system_attr(trial_id, CONSTRAINTS, [kl - budget])
            study._storage.set_trial_user_attr(trial_id, KL, kl)
        if kl > budget and not member.course.pruned:
            member.course.pruned = True
            _keep(study, member)


def _evaluate(study: optuna.Study, flight: Sequence[Member], board: Board) -> None:
    """Work on all trials until the first one has ended."""
    while True:
        for member in flight:
            _advance(study, member, flight, board)
        if flight[0].course.ended:
            return
        board.work(member for member in flight if not member.course.ended)


def _advance(study: optuna.Study, member: Member, flight: Sequence[Member], board: Board) -> None:
    """Report the chunks that are complete; write down what came out when the trial ends."""
    course = member.course
    while not course.ended and (found := board.answers(member.candidate, course.chunk)):
        member.answers += found
        course.add([answer.correct for answer in found])
        if course.ended:
            _keep(study, member)
            if all(o.candidate != member.candidate or o.course.ended for o in flight):
                board.drop(member.candidate)


def _keep(study: optuna.Study, member: Member) -> None:
    """Write what came out of a trial, so that it is not lost while earlier ones go on."""
    answers, outcomes = member.answers, member.course.outcomes
    costs = (
        member.course.accuracies,
        len(answers),
        sum(answer.new_tokens for answer in answers),
        sum(answer.extracted is None for answer in answers),
    )
    attributes = {
        **dict(zip(COSTS, costs, strict=True)),
        **delivered_dose(member.candidate.dose, answers),
        OUTCOMES: "".join("1" if right else "0" for right in outcomes),
    }
    for name, value in attributes.items():
        study._storage.set_trial_user_attr(_id(study, member.number), name, value)


def _tell(study: optuna.Study, member: Member) -> None:
    course = member.course
    values, written = course.traces()
    for step, value in values.items():
        study._storage.set_trial_intermediate_value(_id(study, member.number), step, value)
    for key, value in written.items():
        study._storage.set_trial_system_attr(_id(study, member.number), key, value)
    if course.pruned:
        study.tell(member.number, state=TrialState.PRUNED)
    else:
        kl = kl_of(study.get_trials(deepcopy=False)[member.number])
        accuracy = course.accuracies[-1]
        study.tell(member.number, accuracy if kl is None else [accuracy, kl])


def _fail(study: optuna.Study, number: int, message: str) -> None:
    study._storage.set_trial_user_attr(_id(study, number), "error", message)
    study.tell(number, state=TrialState.FAIL)


def _id(study: optuna.Study, number: int) -> int:
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


def trial_rows(
    trials: Sequence[FrozenTrial], front: Collection[int] | None = None
) -> list[dict[str, Any]]:
    """Trials as rows of trials.csv: number, state, accuracy, parameters, costs, delivered dose.

    Args:
        trials: Of the study.
        front: Numbers of those on the front, see `snakesteer.search.objectives.front_of`; None
            where there is none, and then rows have no ``kl`` and no ``on_front``.
    """
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "accuracy": accuracy_of(trial),
            **({} if front is None else {KL: kl_of(trial), "on_front": trial.number in front}),
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


def surplus(trials: Sequence[FrozenTrial], n_trials: int) -> str:
    """A sentence where a study has more trials than are asked for; empty otherwise.

    None of them is dropped: they were searched, and each was a chance to win by luck.

    Args:
        trials: Of the study.
        n_trials: `search.n_trials`, which was larger before.
    """
    found = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    if found <= n_trials:
        return ""
    return (
        f"The study has {found} finished trials, and search.n_trials asks for {n_trials}: all "
        f"{found} were compared."
    )


def enough(study: optuna.Study, n_trials: int) -> bool:
    """Whether as many trials have ended well as were asked for."""
    return len(finished_trials(study)) >= n_trials
