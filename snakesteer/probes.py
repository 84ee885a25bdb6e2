"""Linear probes: can a layer's activations tell right from wrong solutions?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from snakesteer.activations_file import Activations
from snakesteer.errors import UserError
from snakesteer.files import atomic_path

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear score of an activation; above 0 means "right".

    Attributes:
        weight: ``[hidden]`` float32, in the space of the activations themselves.
        bias: The intercept there.
    """

    weight: Array
    bias: float

    def scores(self, activations: Array) -> Array:
        """Scores of activations: ``[n, hidden]`` → ``[n]``."""
        return activations @ self.weight + np.float32(self.bias)


def fit_probe(activations: Activations, c: float) -> Probe:
    """Fit a logistic regression on standardised activations.

    The coefficients are taken back to the activations' own space (divided by each feature's
    standard deviation): the scaled ones would not be a direction of the residual stream.

    Args:
        activations: Of the train pairs.
        c: Inverse regularisation strength.
    """
    features, labels = _examples(activations)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
    model.fit(features, labels)
    scaler, regression = model[0], model[1]
    weight = regression.coef_[0] / scaler.scale_
    bias = float(regression.intercept_[0] - weight @ scaler.mean_)
    return Probe(weight.astype(np.float32), bias)


def probe_metrics(probe: Probe, activations: Activations) -> dict[str, float]:
    """AUC, accuracy, precision, recall and F1 on pairs that the probe has not seen."""
    features, labels = _examples(activations)
    return label_metrics(probe.scores(features.astype(np.float32)), labels)


def label_metrics(scores: Array, labels: NDArray[np.int64]) -> dict[str, float]:
    """AUC, accuracy, precision, recall and F1 of scores against labels (1 is "right")."""
    predicted = (scores > 0).astype(int)
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "accuracy": float(accuracy_score(labels, predicted)),
        "precision": float(precision_score(labels, predicted, zero_division=0)),
        "recall": float(recall_score(labels, predicted, zero_division=0)),
        "f1": float(f1_score(labels, predicted, zero_division=0)),
    }


def _examples(activations: Activations) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features ``[2·pairs, hidden]`` float64 and labels, right solutions first."""
    features = np.concatenate([activations.positive, activations.negative]).astype(np.float64)
    labels = np.repeat([1, 0], len(activations.positive))
    return features, labels


def write_probe(path: str | Path, probe: Probe, metadata: dict[str, Any]) -> None:
    """Write a probe as safetensors, atomically; metadata go into the header as strings."""
    tensors = {"weight": probe.weight, "bias": np.array([probe.bias], dtype=np.float32)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {key: str(value) for key, value in metadata.items()})


def read_probe(path: str | Path) -> Probe:
    """Read a probe.

    Raises:
        UserError: The file is missing, damaged, or no probe.
    """
    try:
        tensors = load_file(path)
        return Probe(tensors["weight"], float(tensors["bias"][0]))
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            f"{path} is not a readable probe ({error})",
            "Delete it and run snakemake again; it will be made anew.",
        ) from error
