"""The choice of the best configuration, and the evidence for it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from snakesteer.evaluation import Answer, accuracy
from snakesteer.files import read_json
from snakesteer.provenance import git_state, timestamp, versions
from snakesteer.search.run import read_db
from snakesteer.search.space import PARAM_NAMES
from snakesteer.search.study import choose_best

RUNNERS_UP = 5


def best_config(
    db: str | Path, baseline: Sequence[Answer], probe_files: Sequence[str | Path], seed: int
) -> dict[str, Any]:
    """Choose the best trial of a study.

    The highest validation accuracy wins; of equals the smaller dose, so that no steering wins where
    steering does not help.

    Args:
        db: The study.
        baseline: Unsteered answers to the validation split.
        probe_files: Probe metrics of all layers.
        seed: Of the study.

    Returns:
        The content of best_config.json.
    """
    trials = read_db(db).trials
    ranked = choose_best(trials)
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
        "git": git_state(Path(__file__).parent),
        "versions": versions(),
        "created": timestamp(),
    }


def trial_params(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's configuration under the names that results use."""
    return {name: trial.user_attrs[name] for name in PARAM_NAMES if name in trial.user_attrs}


def _why(best: FrozenTrial, ranked: Sequence[FrozenTrial], problems: int) -> str:
    """The choice in one sentence."""
    ties = sum(trial.value == best.value for trial in ranked) - 1
    what = "no steering" if best.user_attrs["steering_alpha"] == 0.0 else f"trial {best.number}"
    text = f"{what} has the highest accuracy on {problems} validation problems"
    return f"{text}, and the smallest dose of {ties + 1} equals." if ties else f"{text}."
