"""How a trial goes: chunk by chunk, until the pruner ends it or it is through."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from snakesteer.search.asking import BESIDE
from snakesteer.search.plan import Plan
from snakesteer.search.snapshot import as_running, snapshot


class Course:
    """The chunks of one trial, seen beside the study as it was when the trial was asked for.

    So the pruner's decisions depend on the outcomes alone, never on when they came.

    Args:
        study: The study.
        trial: One that is running.
        plan: What the study is run with.
        prunable: Whether the pruner is asked.

    Attributes:
        accuracies: After each chunk.
        outcomes: Whether each problem was answered correctly.
        pruned: Whether the pruner has ended it, or the budget before it began.
    """

    def __init__(self, study: optuna.Study, trial: FrozenTrial, plan: Plan, prunable: bool) -> None:
        # Of several objectives none can be reported on the way.
        self._trial = None if plan.search.weighs_kl else _as_asked_for(study, trial)
        self._plan = plan
        self._prunable = prunable
        self.accuracies: list[float] = []
        self.outcomes: list[bool] = []
        self.pruned = False

    @property
    def chunk(self) -> int:
        """The chunk that comes next."""
        return len(self.accuracies)

    @property
    def ended(self) -> bool:
        """Whether no chunk comes next."""
        return self.pruned or self.chunk == self._plan.num_chunks

    def add(self, correct: Sequence[bool]) -> None:
        """Report the outcomes of a chunk, and let the pruner decide."""
        chunk = self.chunk
        if self._trial is not None and self._plan.search.pruner == "wilcoxon":
            # It pairs trials problem by problem.
            for number, right in enumerate(correct, start=len(self.outcomes)):
                self._trial.report(float(right), step=number)
        self.outcomes += correct
        self.accuracies.append(sum(self.outcomes) / len(self.outcomes))
        if self._trial is None:
            return
        if self._plan.search.pruner != "wilcoxon":
            self._trial.report(self.accuracies[-1], step=chunk)
        last = chunk == self._plan.num_chunks - 1
        self.pruned = self._prunable and not last and self._trial.should_prune()

    def traces(self) -> tuple[dict[int, float], dict[str, Any]]:
        """What was reported, and what the pruner has written onto the trial."""
        if self._trial is None:
            return {}, {}
        found = self._trial.study.get_trials(deepcopy=False)[self._trial.number]
        return found.intermediate_values, found.system_attrs


def _as_asked_for(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A trial in the study as it was when that was asked for."""
    before = study.get_trials(deepcopy=False)[: trial.number]
    view = snapshot(study, before, trial.user_attrs[BESIDE])
    own = view._storage.create_new_trial(view._study_id, template_trial=as_running(trial))
    return optuna.Trial(view, own)
