"""The dose that steering delivers: the nominal one times the mean of its α_t.

A dynamic strength (`snakesteer.steering.dac`) adds α·α_t·v, so that its dose alone says little.
"""

from collections.abc import Sequence

from snakesteer.evaluation.answers import Answer

# Names that results use. The first exists for a dynamic strength alone.
DELIVERED = ("mean_alpha_t", "delivered_dose")


def mean_alpha_t(answers: Sequence[Answer]) -> float | None:
    """Mean α_t over all tokens of some answers; None where their strength is not dynamic."""
    dynamic = [(a.alpha_t, a.new_tokens) for a in answers if a.alpha_t is not None]
    if not dynamic:
        return None
    return sum(mean * tokens for mean, tokens in dynamic) / sum(tokens for _, tokens in dynamic)


def delivered_dose(dose: float, answers: Sequence[Answer]) -> dict[str, float]:
    """What a dose delivered in some answers, under the names of `DELIVERED`.

    Args:
        dose: Of the configuration, in mean residual norms, at each steered layer.
        answers: Given with it.

    Returns:
        ``delivered_dose`` is |dose| · mean α_t, at each steered layer; |dose| where the strength is
        not dynamic, and then there is no ``mean_alpha_t``.
    """
    mean = mean_alpha_t(answers)
    if mean is None:
        return {"delivered_dose": abs(dose)}
    return {"mean_alpha_t": mean, "delivered_dose": abs(dose) * mean}
