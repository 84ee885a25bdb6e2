"""A study as it was when a trial was asked for, in memory.

What a trial's sampler and pruner see must not depend on how fast other trials went, or a study
could not be repeated. So they work on a copy, in which the trials beside it are running and have no
results, whether or not they have some by now.
"""

import copy
from collections.abc import Collection, Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState


def snapshot(
    name: str, pruner: BasePruner, trials: Sequence[FrozenTrial], beside: Collection[int]
) -> optuna.Study:
    """A study of its own in memory.

    Args:
        name: Of the study: Hyperband draws brackets by it.
        pruner: Of the study: under Hyperband samplers see one bracket.
        trials: All that come before the one that is asked for.
        beside: Numbers of those that were running then.
    """
    study = optuna.create_study(study_name=name, direction="maximize", pruner=pruner)
    for trial in trials:
        found = as_running(trial) if trial.number in beside else copy.copy(trial)
        found.user_attrs = {}
        study._storage.create_new_trial(study._study_id, template_trial=found)
    return study


def as_running(trial: FrozenTrial) -> FrozenTrial:
    """A trial as if it had just been asked for: its parameters, and nothing that came of them."""
    found = copy.copy(trial)
    found.state = TrialState.RUNNING
    found.values = None
    found.intermediate_values = {}
    found.datetime_complete = None
    found.system_attrs = {}
    return found
