"""Vectors and graded answers made by hand."""

import numpy as np
from optuna.trial import TrialState, create_trial

from snakesteer.evaluation.answers import Answer
from snakesteer.search.study import OUTCOMES
from snakesteer.steering.candidate import STEERED_LAYERS
from snakesteer.steering.vector import Vector
from tests.tiny_models import HIDDEN

LAYERS = (0, 2, 3)
VECTORS = {
    (direction, layer): Vector(
        direction=direction,
        layer=layer,
        raw=np.full(HIDDEN, 0.5 + layer + scale, dtype=np.float32),
        mean_residual_norm=10.0 * (1 + layer),
    )
    for direction, scale in (("caa", 0.0), ("probe", 0.25))
    for layer in LAYERS
}


def answers_of(correct):
    """One answer for each outcome."""
    return [
        Answer(f"p{index}", bool(right), False, bool(right), "1", "1", "eos", 5, 7)
        for index, right in enumerate(correct)
    ]


def trial_of(right, dose, layer=2, state="COMPLETE", layers=1, delivered=None, **more):
    """A trial that answered each problem so."""
    params = {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": layer,
        "steering_alpha": 10 * dose,
        "steering_dose": dose,
        "scope": "all",
        **more,
    }
    costs = {
        OUTCOMES: "".join(map(str, right)),
        "delivered_dose": abs(dose) if delivered is None else delivered,
        "accuracy_by_chunk": [sum(right) / len(right)],
        STEERED_LAYERS: layers,
    }
    return create_trial(
        state=TrialState[state],
        value=sum(right) / len(right) if state == "COMPLETE" else None,
        user_attrs={**params, **costs, "error": "x"},
    )
