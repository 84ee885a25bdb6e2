"""What steering delivers: the nominal dose times the mean of its α_t, and where a gate lets it.

A dynamic strength (`snakesteer.steering.dac`) adds α·α_t·v, so that its dose alone says little.
Behind a gate (`snakesteer.steering.gates`) a dose says nothing of how often it is added.
"""

from collections.abc import Callable, Sequence

from snakesteer.evaluation.answers import Answer

# Names that results use. The first exists for a dynamic strength alone, the last behind a gate.
DELIVERED = ("mean_alpha_t", "delivered_dose", "steered_share")


def mean_alpha_t(answers: Sequence[Answer]) -> float | None:
    """Mean α_t over all tokens of some answers; None where their strength is not dynamic."""
    return _over_tokens(answers, lambda answer: answer.alpha_t)


def delivered_dose(dose: float, answers: Sequence[Answer]) -> dict[str, float]:
    """What a dose delivered in some answers, under the names of `DELIVERED`.

    Args:
        dose: Of the configuration, in mean residual norms, at each steered layer.
        answers: Given with it.

    Returns:
        ``delivered_dose`` is |dose| · mean α_t, at each steered layer; |dose| where the strength is
        not dynamic, and then there is no ``mean_alpha_t``. ``steered_share``, behind a gate, is
        the share of all tokens at which it was steered.
    """
    mean, share = mean_alpha_t(answers), _over_tokens(answers, lambda answer: answer.steered_share)
    found = {"delivered_dose": abs(dose)}
    if mean is not None:
        found = {"mean_alpha_t": mean, "delivered_dose": abs(dose) * mean}
    return found if share is None else {**found, "steered_share": share}


def _over_tokens(answers: Sequence[Answer], told: Callable[[Answer], float | None]) -> float | None:
    """The mean over all tokens of what is told of answers; None where nothing is."""
    found = [(each, a.new_tokens) for a in answers if (each := told(a)) is not None]
    if not found:
        return None
    return sum(mean * tokens for mean, tokens in found) / sum(tokens for _, tokens in found)
