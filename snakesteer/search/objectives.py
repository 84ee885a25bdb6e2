"""What a search looks for beside accuracy: little change of what the model says elsewhere.

The second objective is the mean KL(unsteered ‖ steered) per token on neutral texts, in nats, known
before a trial answers anything. Optuna prunes trials of one objective alone, as a pruner compares
values that are reported on the way. A trial over the budget needs no comparison: it is told as
pruned at once, with how far it is over as a constraint, by which Optuna's samplers rank it among
those that are not feasible.
"""

import math
from collections.abc import Callable, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from snakesteer.config import SearchConfig
from snakesteer.steering.candidate import Candidate

# Nats per token that a configuration costs.
KlOf = Callable[[Candidate], float]

# What a trial keeps of it.
KL = "kl"
# Optuna's name for a list of what must not be above 0, as versions from 4 on read it.
CONSTRAINTS = "constraints"


def directions(search: SearchConfig) -> list[str]:
    """Whether each objective is to be large or small, as Optuna says it."""
    return ["maximize", "minimize"] if search.weighs_kl else ["maximize"]


def measured_kl(candidate: Candidate, cost: KlOf) -> float:
    """What a configuration costs: nothing without steering, without end where numbers break."""
    if candidate.alpha == 0.0:
        return 0.0
    found = cost(candidate)
    return found if math.isfinite(found) else math.inf


def kl_of(trial: FrozenTrial) -> float | None:
    """What a trial costs; None where that is no objective, or the trial failed before."""
    return trial.user_attrs.get(KL)


def over_budget(trial: FrozenTrial, budget: float) -> bool:
    """Whether a trial costs more than the budget, so that it answered nothing."""
    kl = kl_of(trial)
    return kl is not None and kl > budget


def front_of(study: optuna.Study) -> set[int] | None:
    """Numbers of the complete trials than which none is better in one way and as good in the other.

    Returns:
        None where accuracy is the only objective.
    """
    if len(study.directions) == 1:
        return None
    return {trial.number for trial in study.best_trials}


def refused(trials: Sequence[FrozenTrial], budget: float) -> list[FrozenTrial]:
    """Those that were over the budget."""
    return [t for t in trials if t.state == TrialState.PRUNED and over_budget(t, budget)]


def nats(value: float) -> str:
    """0.01234 → 0.0123 nats per token."""
    return f"{value:.3g} nats per token"
