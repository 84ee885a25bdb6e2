"""best_config.json: the best steered configuration, whether to steer, and the evidence for it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from snakesteer.evaluation.answers import Answer, accuracy
from snakesteer.records.files import read_json
from snakesteer.records.versions import git_state, timestamp, versions
from snakesteer.search.database import read_db
from snakesteer.search.objectives import KL, front_of, kl_of, nats, refused
from snakesteer.search.selection import Lead, Rules, choose_trial, right_answers
from snakesteer.search.study import accuracy_of, delivered, surplus
from snakesteer.steering.candidate import PARAM_NAMES

RUNNERS_UP = 5
BUDGET_RULE = (
    "highest validation accuracy among trials whose KL on neutral text is within the budget"
)
STEER, LEAVE_ALONE = "steer", "leave alone"


def best_config(
    db: str | Path,
    baseline: Sequence[Answer],
    probe_files: Sequence[str | Path],
    seed: int,
    n_trials: int,
    rules: Rules,
    confirmation: str | Path | None = None,
) -> dict[str, Any]:
    """Choose the best steered trial of a study, and say whether to steer.

    Args:
        db: The study.
        baseline: Unsteered answers to the validation problems of the search.
        probe_files: Probe metrics of all layers.
        seed: Of the study.
        n_trials: Trials that the config asks for; where there are more, all count.
        rules: How trials are chosen.
        confirmation: study/confirmation.json, where problems were kept from the search.

    Returns:
        The content of best_config.json.
    """
    study = read_db(db)
    trials = study.trials
    confirmed = Lead(**read_json(confirmation)["lead"]) if confirmation else None
    choice = choose_trial(trials, right_answers(baseline), rules, confirmed)
    params = trial_params(choice.tested)
    probes = {record["layer"]: record for record in map(read_json, probe_files)}
    return {
        "best_trial_params": params,
        "recommendation": STEER if choice.recommended else LEAVE_ALONE,
        "best_validation_score": accuracy_of(choice.tested),
        "baseline_validation_score": accuracy(baseline[: choice.lead.problems]),
        "validation_problems": choice.lead.problems,
        "validation_lead": asdict(choice.lead),
        "max_t_p": choice.max_t_p,
        "confirmation": asdict(choice.confirmation) if choice.confirmation else None,
        "trial": choice.tested.number,
        **delivered(choice.tested),
        **_cost(study, choice.tested, rules),
        "why": " ".join(
            filter(None, (choice.why, _refusals(trials, rules), surplus(trials, n_trials)))
        ),
        "runners_up": [
            {
                "trial": trial.number,
                "validation_score": accuracy_of(trial),
                **({} if (kl := kl_of(trial)) is None else {KL: kl}),
                "params": trial_params(trial),
            }
            for trial in choice.others[:RUNNERS_UP]
        ],
        "trials": dict(sorted(Counter(trial.state.name for trial in trials).items())),
        "validation_probe_metrics": probes[params["layer_id"]],
        "random_seed": seed,
        "git": git_state(Path(__file__).parents[2]),
        "versions": versions(),
        "created": timestamp(),
    }


def trial_params(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's configuration under the names that results use."""
    return {name: trial.user_attrs[name] for name in PARAM_NAMES if name in trial.user_attrs}


def _cost(study: optuna.Study, tested: FrozenTrial, rules: Rules) -> dict[str, Any]:
    """What the choice costs on neutral text, and by which rule; nothing without that objective."""
    front = front_of(study)
    if front is None or rules.kl_budget is None:
        return {}
    return {
        "kl": {
            "rule": BUDGET_RULE,
            "budget": rules.kl_budget,
            "tested": kl_of(tested),
            "on_front": tested.number in front,
            "front": sorted(front),
            "over_budget": len(refused(study.trials, rules.kl_budget)),
        }
    }


def _refusals(trials: Sequence[FrozenTrial], rules: Rules) -> str:
    """A sentence where trials were over the budget; empty otherwise."""
    if rules.kl_budget is None or not (count := len(refused(trials, rules.kl_budget))):
        return ""
    were = "trial was" if count == 1 else "trials were"
    return f"{count} {were} over the budget of {nats(rules.kl_budget)} and answered nothing."
