"""Which trial comes next, decided from what was known when its turn came.

Trial k knows the results up to trial k − W, where W are in flight, and that those behind it run.
That holds when a search goes on after a kill, and when a finished one is extended: results that
have come since, or earlier than their turn, are hidden from it.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from snakesteer.search.grid import grid_points
from snakesteer.search.journal import WORKER
from snakesteer.search.plan import Plan
from snakesteer.search.samplers import make_sampler
from snakesteer.search.snapshot import snapshot
from snakesteer.steering.build import steered_layers
from snakesteer.steering.candidate import STEERED_LAYERS, Candidate
from snakesteer.steering.space import suggest, trained_starts, unsteered_start

# Trials that have ended well or are running: no others are asked for in their place.
CLAIMED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
# Numbers of the trials that were running when a trial was asked for.
BESIDE = "beside"
# What the sampler keeps with the study, after this trial: QMC's place in its sequence.
PLACE = "place"


def ask(study: optuna.Study, plan: Plan) -> FrozenTrial | None:
    """The next trial; None where the study has as many as it needs.

    It is drawn in a `snapshot`, and written into the study whole or not at all, however the process
    ends.

    Args:
        study: Not changed by others meanwhile.
        plan: What it is run with.
    """
    trials = study.get_trials(deepcopy=False)
    claimed = [trial for trial in trials if trial.state in CLAIMED]
    if len(claimed) >= plan.search.n_trials:
        return None
    number = len(trials)
    beside = _beside(claimed, plan)
    view = snapshot(study, trials, beside)
    for key, value in _place(trials).items():
        view._storage.set_study_system_attr(view._study_id, key, value)
    seed = (plan.search.seed * 1_000_003 + plan.worker * 7_919 + number) % 2**32
    in_parallel = plan.trials_in_flight > 1 or plan.search.workers > 1
    view.sampler = make_sampler(plan.search, seed, in_parallel)
    if (point := _given_point(claimed, plan)) is not None:
        view.enqueue_trial(point)
    candidate = suggest(view.ask(), plan.steering, plan.layers, plan.vectors, plan.curves)
    trial = view.get_trials(deepcopy=False)[number]
    trial.user_attrs = {
        WORKER: plan.worker,
        BESIDE: beside,
        **candidate.params(),
        STEERED_LAYERS: steered_layers(candidate, plan.vectors),
    }
    if place := view._storage.get_study_system_attrs(view._study_id):
        trial.system_attrs[PLACE] = place
    study._storage.create_new_trial(study._study_id, template_trial=trial)
    return study.get_trials(deepcopy=False)[number]


def candidate_of(trial: FrozenTrial, plan: Plan) -> Candidate:
    """The configuration that a trial chose when it was asked for."""
    trial_again = FixedTrial(trial.params)
    return suggest(trial_again, plan.steering, plan.layers, plan.vectors, plan.curves)


def _beside(claimed: Sequence[FrozenTrial], plan: Plan) -> list[int]:
    """The trials whose results must not be known to the next one of this worker.

    They are its own last ones, whether or not they have ended, and those that others are running.
    """
    own = [trial.number for trial in claimed if trial.user_attrs.get(WORKER) == plan.worker]
    running = [trial.number for trial in claimed if trial.state == TrialState.RUNNING]
    return sorted({*own[max(0, len(own) - plan.trials_in_flight + 1) :], *running})


def _place(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    found = (trial.system_attrs[PLACE] for trial in trials[::-1] if PLACE in trial.system_attrs)
    return next(found, {})


def _given_point(claimed: Sequence[FrozenTrial], plan: Plan) -> dict[str, Any] | None:
    """The next point that is not the sampler's to choose.

    They are no steering, then trained vectors as they were trained, or all points of the grid.
    """
    if all(trial.user_attrs["steering_alpha"] != 0.0 for trial in claimed):
        return unsteered_start(plan.steering, plan.layers)
    grid = plan.search.sampler == "grid"
    points = (
        grid_points(plan.search, plan.steering, plan.layers)
        if grid
        else trained_starts(plan.steering, plan.layers, plan.vectors, plan.curves)
    )
    taken = {tuple(sorted(trial.params.items())) for trial in claimed}
    left = (point for point in points if tuple(sorted(point.items())) not in taken)
    return next(left) if grid else next(left, None)
