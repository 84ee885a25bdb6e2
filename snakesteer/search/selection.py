"""Which trial is tested, and whether steering is recommended.

Trials answer the same problems, so that they are compared problem by problem. The best of many
trials leads partly by luck: the recommendation can be corrected for their number, and confirmed on
problems that the search has not seen. docs/search.md says how often each rule is wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from snakesteer.errors import UserError
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.statistics import changed
from snakesteer.search.objectives import kl_of, nats
from snakesteer.search.study import OUTCOMES, accuracy_of, delivered
from snakesteer.steering.candidate import STEERED_LAYERS

FLIPS, FLIP_SEED = 10_000, 0  # of the max-T test

Right = NDArray[np.float64]  # per problem, 1 where the answer is right


@dataclass(frozen=True)
class Lead:
    """How far one trial is ahead of another on the same problems; fractions.

    Attributes:
        difference: In accuracy.
        standard_error: Of it, paired.
        gained: Problems that only the first one answered correctly.
        lost: Problems that only the second one answered correctly.
        problems: How many both answered.
    """

    difference: float
    standard_error: float
    gained: int
    lost: int
    problems: int

    @property
    def clear(self) -> bool:
        """Whether it is more than one standard error."""
        return self.difference > self.standard_error


@dataclass(frozen=True)
class Rules:
    """How trials are chosen.

    Attributes:
        one_standard_error: `search.one_standard_error`.
        max_t: `search.max_t`.
        level: Below which a corrected p-value counts.
        kl_budget: `search.kl_budget`; None where KL is no objective.
    """

    one_standard_error: bool
    max_t: bool
    level: float
    kl_budget: float | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """What the search comes to.

    Attributes:
        tested: The best steered trial.
        others: All other complete trials, by accuracy; those over a budget are none of them.
        recommended: Whether steering with it is recommended.
        lead: Of it over no steering.
        max_t_p: The chance of such a lead by luck, whichever trial had it; None where not asked.
        confirmation: Its lead on problems that were kept from the search; None where none were.
        why: The choice in one sentence.
    """

    tested: FrozenTrial
    others: list[FrozenTrial]
    recommended: bool
    lead: Lead
    max_t_p: float | None
    confirmation: Lead | None
    why: str


def choose_trial(
    trials: Sequence[FrozenTrial], baseline: Right, rules: Rules, confirmation: Lead | None = None
) -> Choice:
    """Choose among the trials of a study.

    The best steered trial is tested whatever is recommended: a search that prefers no steering has
    not shown that steering does nothing.

    Args:
        trials: Of the study.
        baseline: Unsteered answers to the problems of the search.
        rules: How.
        confirmation: The tested trial's lead on problems that were kept from the search.

    Raises:
        UserError: No trial is steered.
    """
    ranked = rank_trials(trials, rules.one_standard_error)
    tested = best_steered(trials, rules.one_standard_error)
    complete = tested.state == TrialState.COMPLETE
    ahead = lead(right_of(tested), baseline)
    max_t_p = _max_t_p(tested, ranked, baseline) if rules.max_t and complete else None
    steered = sum(is_steered(trial) for trial in ranked)
    against = []
    if not complete:
        against.append("no steered trial was worth answering all of them")
    elif not is_steered(ranked[0]):
        against.append(
            "no steering lies within one paired standard error of the best trial"
            if rules.one_standard_error and ahead.difference > 0.0
            else "no steering does as well without a dose"
            if ahead.difference == 0.0
            else "no steering does better"
        )
    if max_t_p is not None and max_t_p >= rules.level:
        against.append(f"corrected for the number of steered trials ({steered}) p = {max_t_p:.2g}")
    if confirmation is not None and not confirmation.clear:
        against.append(
            f"on {confirmation.problems} others it has {_points(confirmation.difference)}, with a "
            f"standard error of {100.0 * confirmation.standard_error:.1f}"
        )
    return Choice(
        tested=tested,
        others=[trial for trial in ranked if trial.number != tested.number],
        recommended=not against,
        lead=ahead,
        max_t_p=max_t_p,
        confirmation=confirmation,
        why=_why(tested, ranked, ahead, max_t_p, confirmation, against),
    )


def best_steered(trials: Sequence[FrozenTrial], one_standard_error: bool) -> FrozenTrial:
    """The steered trial that is tested.

    It is the one that `rank_trials` puts first, if that is steered, else the steered one of the
    highest accuracy (of equals the smaller dose): the one-standard-error rule alone would take the
    dose next to 0. Where all steered trials ended early, it is the one that was furthest ahead of
    no steering on the problems that it saw.

    Raises:
        UserError: No trial is steered, or all that are cost more on neutral text than the budget.
    """
    ranked = rank_trials(trials, one_standard_error)
    if is_steered(ranked[0]):
        return ranked[0]
    steered = [trial for trial in rank_trials(trials, False) if is_steered(trial)]
    if steered:
        return steered[0]
    unsteered = right_of(ranked[0])
    early = [t for t in trials if t.state == TrialState.PRUNED and is_steered(t)]
    costs = [kl for t in early if (kl := kl_of(t)) is not None]
    if costs:  # with that objective, nothing else ends a trial early
        raise UserError(
            f"All steered trials ({len(costs)}) are over search.kl_budget: the least costs "
            f"{nats(min(costs))} on neutral text",
            "Raise search.kl_budget or search.n_trials, or narrow steering.strength.",
        )
    if not early:
        raise UserError(
            f"None of the study's {len(trials)} trials steers, so there is nothing to test",
            "Raise search.n_trials, or widen steering.strength.",
        )
    return max(early, key=lambda t: (lead(right_of(t), unsteered).difference, -t.number))


def rank_trials(trials: Sequence[FrozenTrial], one_standard_error: bool) -> list[FrozenTrial]:
    """Complete trials, the chosen one first, then by accuracy.

    The highest accuracy wins, of equals the smaller dose, then the earlier trial. A dose is the one
    that was delivered, and counts once for every layer that has it: those of a band, and those
    whose attention heads are steered. Where a search knows what each trial costs on neutral text,
    that takes the place of the dose, which stands for it otherwise.

    Under the one-standard-error rule (Breiman et al. 1984, "Classification and Regression Trees")
    all trials count as equals of which the best is less than one paired standard error ahead: a
    larger dose must earn its place.

    Args:
        trials: Of the study.
        one_standard_error: Whether that rule holds.
    """

    def dose(trial: FrozenTrial) -> float:
        if (kl := kl_of(trial)) is not None:
            return kl
        return float(delivered(trial)["delivered_dose"] * trial.user_attrs[STEERED_LAYERS])

    def value(trial: FrozenTrial) -> float:
        found = accuracy_of(trial)
        assert found is not None  # complete trials have one
        return found

    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    ranked = sorted(complete, key=lambda trial: (-value(trial), dose(trial), trial.number))
    if one_standard_error:
        top = right_of(ranked[0])
        equals = [trial for trial in ranked if not lead(top, right_of(trial)).clear]
        chosen = min(equals, key=lambda trial: (dose(trial), -value(trial), trial.number))
        ranked.remove(chosen)
        ranked.insert(0, chosen)
    return ranked


def is_steered(trial: FrozenTrial) -> bool:
    """Whether a trial steers at all."""
    return bool(trial.user_attrs["steering_alpha"] != 0.0)


def right_of(trial: FrozenTrial) -> Right:
    """Which of the problems that it saw a trial answered correctly, ``[problems]``."""
    return np.array([float(mark) for mark in trial.user_attrs[OUTCOMES]])


def right_answers(answers: Sequence[Answer]) -> Right:
    """Which answers are right, ``[problems]``."""
    return np.array([float(answer.correct) for answer in answers])


def lead(first: Right, second: Right) -> Lead:
    """How far one run is ahead of another, over the problems that both have answered."""
    n = min(len(first), len(second))
    difference = first[:n] - second[:n]
    gained, lost = changed(second[:n], first[:n])
    return Lead(
        difference=float(difference.mean()),
        standard_error=float(difference.std(ddof=1) / math.sqrt(n)) if n > 1 else 0.0,
        gained=gained,
        lost=lost,
        problems=n,
    )


def max_t(differences: NDArray[np.float64], lead_of: int, flips: int, seed: int) -> float:
    """The chance that the best of several useless trials leads as clearly as one of them does.

    Without an effect a problem's outcomes with and without steering could as well be swapped, for
    all trials at once, which keeps what they have in common (Westfall and Young 1993, "Resampling-
    Based Multiple Testing"). One-sided, as only a lead recommends steering.

    Args:
        differences: ``[trials, problems]``: steered − unsteered.
        lead_of: Which trial is asked about.
        flips: Random patterns of signs.
        seed: Of these.

    Returns:
        The p-value, in (0, 1]; the observed pattern is counted.
    """
    lengths = np.sqrt(np.square(differences).sum(axis=1, keepdims=True))
    scaled = np.divide(
        differences, lengths, out=np.zeros_like(differences), where=lengths > 0.0
    )  # [trials, problems]
    observed = scaled[lead_of].sum()
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(flips, differences.shape[1]))
    largest = (signs @ scaled.T).max(axis=1)  # [flips]
    # Sums in another order differ in their last bits.
    return float((1 + (largest >= observed - 1e-9).sum()) / (flips + 1))


def _max_t_p(tested: FrozenTrial, ranked: Sequence[FrozenTrial], baseline: Right) -> float:
    steered = [trial for trial in ranked if is_steered(trial)]
    differences = np.stack([right_of(trial) - baseline for trial in steered])
    numbers = [trial.number for trial in steered]
    return max_t(differences, numbers.index(tested.number), FLIPS, FLIP_SEED)


def _why(
    tested: FrozenTrial,
    ranked: Sequence[FrozenTrial],
    ahead: Lead,
    max_t_p: float | None,
    confirmation: Lead | None,
    against: Sequence[str],
) -> str:
    problems = f"{ahead.problems} validation problems"
    over = f"{_points(ahead.difference)} against no steering"
    if against:
        which = f"trial {tested.number}, the best steered one"
        if tested.state != TrialState.COMPLETE:
            which = f"trial {tested.number}, which ended early"
        joined = ", but " if ahead.difference > 0.0 else ": "
        return f"{which}, has {over} on {problems}{joined}{', and '.join(against)}."
    top = max(ranked, key=lambda trial: accuracy_of(trial) or 0.0)
    has = (
        "the highest accuracy"
        if accuracy_of(top) == accuracy_of(tested)
        else f"the smallest {'dose' if kl_of(tested) is None else 'KL on neutral text'} within one "
        "paired standard error of the highest accuracy "
        f"({accuracy_of(top):.1%}, trial {top.number})"
    )
    text = f"trial {tested.number} has {has} on {problems}: {over}"
    if max_t_p is not None:
        text += f", p = {max_t_p:.2g} corrected for the number of trials"
    if confirmation is not None:
        text += f", and {_points(confirmation.difference)} on {confirmation.problems} others"
    return f"{text}."


def _points(difference: float) -> str:
    return f"{100.0 * difference:+.1f} points".replace("-", "\N{MINUS SIGN}")
