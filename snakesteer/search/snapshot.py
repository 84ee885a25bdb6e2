"""A study as it was when a trial was asked for, in memory.

What a trial's sampler and pruner see must not depend on how fast other trials went, or a study
could not be repeated. So they work on a copy, in which the trials beside it are running and have no
results, whether or not they have some by now.
"""

import copy
from collections.abc import Collection, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState


def snapshot(
    study: optuna.Study, trials: Sequence[FrozenTrial], beside: Collection[int]
) -> optuna.Study:
    """A study of its own in memory.

    Args:
        study: The real one. Hyperband draws brackets by its name, and samplers see one bracket.
        trials: All that come before the one that is asked for.
        beside: Numbers of those that were running then.
    """
    view = optuna.create_study(
        study_name=study.study_name, directions=study.directions, pruner=study.pruner
    )
    for trial in trials:
        found = as_running(trial) if trial.number in beside else copy.copy(trial)
        found.user_attrs = {}
        view._storage.create_new_trial(view._study_id, template_trial=found)
    return view


def as_running(trial: FrozenTrial) -> FrozenTrial:
    """A trial as if it had just been asked for: its parameters, and nothing that came of them."""
    found = copy.copy(trial)
    found.state = TrialState.RUNNING
    found.values = None
    found.intermediate_values = {}
    found.datetime_complete = None
    found.system_attrs = {}
    return found
