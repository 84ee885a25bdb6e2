"""The choice of the best configuration, and the evidence for it."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from snakesteer.evaluation.answers import Answer, accuracy
from snakesteer.records.files import read_json
from snakesteer.records.versions import git_state, timestamp, versions
from snakesteer.search.database import read_db
from snakesteer.steering.candidate import PARAM_NAMES, STEERED_LAYERS

RUNNERS_UP = 5


def best_config(
    db: str | Path,
    baseline: Sequence[Answer],
    probe_files: Sequence[str | Path],
    seed: int,
    one_standard_error: bool,
) -> dict[str, Any]:
    """Choose the best trial of a study.

    Args:
        db: The study.
        baseline: Unsteered answers to the validation split.
        probe_files: Probe metrics of all layers.
        seed: Of the study.
        one_standard_error: See `rank_trials`.

    Returns:
        The content of best_config.json.
    """
    trials = read_db(db).trials
    ranked = rank_trials(trials, len(baseline), one_standard_error)
    best = ranked[0]
    params = trial_params(best)
    probes = {record["layer"]: record for record in map(read_json, probe_files)}
    return {
        "best_trial_params": params,
        "best_validation_score": best.value,
        "baseline_validation_score": accuracy(baseline),
        "validation_problems": len(baseline),
        "trial": best.number,
        "why": _why(best, ranked, len(baseline)),
        "runners_up": [
            {"trial": trial.number, "validation_score": trial.value, "params": trial_params(trial)}
            for trial in ranked[1 : 1 + RUNNERS_UP]
        ],
        "trials": dict(sorted(Counter(trial.state.name for trial in trials).items())),
        "validation_probe_metrics": probes[params["layer_id"]],
        "random_seed": seed,
        "git": git_state(Path(__file__).parents[2]),
        "versions": versions(),
        "created": timestamp(),
    }


def rank_trials(
    trials: Sequence[FrozenTrial], problems: int, one_standard_error: bool
) -> list[FrozenTrial]:
    """Complete trials, the chosen one first, then by accuracy.

    The highest accuracy wins, of equals the smaller dose, then the earlier trial. A dose counts
    once for every layer that has it: those of a band, and those whose attention heads are steered.

    Under the one-standard-error rule (Breiman et al. 1984, "Classification and Regression Trees")
    all trials within one binomial standard error of the highest accuracy count as equals: a larger
    dose must earn its place, and no steering wins where steering does not clearly help.

    Args:
        trials: Of the study.
        problems: Validation problems behind an accuracy.
        one_standard_error: Whether that rule holds.
    """

    def dose(trial: FrozenTrial) -> float:
        # DAC's strength reaches its dose times the cap on α_t; every steered layer has the dose.
        cap = trial.user_attrs.get("max_alpha", 1.0)
        return abs(trial.user_attrs["steering_dose"]) * cap * trial.user_attrs[STEERED_LAYERS]

    def value(trial: FrozenTrial) -> float:
        assert trial.value is not None  # complete trials have one
        return trial.value

    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    ranked = sorted(complete, key=lambda trial: (-value(trial), dose(trial), trial.number))
    if one_standard_error:
        top = value(ranked[0])
        least = top - math.sqrt(top * (1.0 - top) / problems)
        equals = [trial for trial in ranked if value(trial) >= least]
        chosen = min(equals, key=lambda trial: (dose(trial), -value(trial), trial.number))
        ranked.remove(chosen)
        ranked.insert(0, chosen)
    return ranked


def trial_params(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's configuration under the names that results use."""
    return {name: trial.user_attrs[name] for name in PARAM_NAMES if name in trial.user_attrs}


def _why(best: FrozenTrial, ranked: Sequence[FrozenTrial], problems: int) -> str:
    """The choice in one sentence."""
    what = "no steering" if best.user_attrs["steering_alpha"] == 0.0 else f"trial {best.number}"
    top = max(ranked, key=lambda trial: trial.value or 0.0)
    if top.value != best.value:
        return (
            f"{what} has the smallest dose within one standard error of the highest accuracy "
            f"({top.value:.1%}, trial {top.number}) on {problems} validation problems."
        )
    text = f"{what} has the highest accuracy on {problems} validation problems"
    ties = sum(trial.value == best.value for trial in ranked)
    return f"{text}, and the smallest dose of {ties} equals." if ties > 1 else f"{text}."
