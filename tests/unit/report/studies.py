"""A study as a search leaves it, without one."""

import random
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from snakesteer.evaluation.answers import Answer, summary
from snakesteer.search import tables
from snakesteer.search.journal import STUDY_NAME
from snakesteer.search.objectives import KL
from snakesteer.search.study import COSTS, OUTCOMES


def write_study(
    folder: Path,
    rng: random.Random,
    layers: list[int],
    methods: tuple[str, ...],
    trials: int,
    gain: float,
    baseline: list[Answer],
    hostile: str,
    budget: float | None = None,
) -> None:
    """study.db and trials.csv of a study whose best dose is 0.1, or 0 without a gain.

    With a budget, KL is the other objective, and grows with the square of the dose.
    """
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(
        study_name=STUDY_NAME,
        directions=["maximize"] if budget is None else ["maximize", "minimize"],
        sampler=sampler,
    )
    unsteered = summary(baseline)["accuracy"]
    for number in range(trials):
        trial = study.ask()
        method = trial.suggest_categorical("steering_method", list(methods))
        trial.suggest_categorical("steering_direction", ["caa"])
        layer = trial.suggest_categorical("layer_id", layers)
        dose = trial.suggest_float("steering_dose", -0.2, 0.2) if number else 0.0
        attributes: dict[str, Any] = {
            "steering_method": method,
            "steering_direction": "caa",
            "layer_id": layer,
            "steering_alpha": 12.5 * dose,
            "steering_dose": dose,
            "steered_layers": 1,
            "scope": "from_last_prompt_token",
            "worker": 0,
        }
        if number == 4 and trials > 8:
            for name, value in {**attributes, "error": f"RuntimeError: lost{hostile}"}.items():
                trial.set_user_attr(name, value)
            study.tell(trial, state=TrialState.FAIL)
            continue
        kl = 8.0 * dose**2
        if budget is not None:
            attributes[KL] = kl
            if kl > budget:
                costs = {**dict(zip(COSTS, ([], 0, 0, 0), strict=True)), OUTCOMES: ""}
                for name, value in {**attributes, **costs, "delivered_dose": abs(dose)}.items():
                    trial.set_user_attr(name, value)
                study.tell(trial, state=TrialState.PRUNED)
                continue
        expected = (
            unsteered + gain - 3.0 * abs(dose - (0.1 if gain else 0.0)) - (0.02 if dose else 0)
        )
        accuracy = unsteered if number == 0 else expected + rng.uniform(-0.02, 0.02)
        pruned = budget is None and number > 2 and accuracy < unsteered - 0.15
        problems_seen = 16 if pruned else len(baseline)
        right = round(min(1.0, max(0.0, accuracy)) * problems_seen)
        accuracy = right / problems_seen
        costs = ([accuracy], problems_seen, 30 * problems_seen, 0)
        mean = {"mean_alpha_t": 0.8} if method == "dac" and number else {}
        attributes |= {
            **dict(zip(COSTS, costs, strict=True)),
            OUTCOMES: outcomes_like(baseline[:problems_seen], right, rng),
            "delivered_dose": abs(dose) * mean.get("mean_alpha_t", 1.0),
            **mean,
        }
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        if pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, accuracy if budget is None else [accuracy, kl])
    tables._write_trials(folder / "trials.csv", study)
    tables._write_db(folder / "study.db", study)


def outcomes_like(baseline: list[Answer], right: int, rng: random.Random) -> str:
    """Outcomes with so many right ones, as like to the baseline's as can be."""
    outcomes = [answer.correct for answer in baseline]
    while (missing := right - sum(outcomes)) != 0:
        changing = [i for i, correct in enumerate(outcomes) if correct == (missing < 0)]
        outcomes[rng.choice(changing)] = missing > 0
    return "".join("01"[correct] for correct in outcomes)
