"""Linear probes: can a layer's activations tell right from wrong solutions?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
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

from snakesteer.records.tensors import Array, read_tensors, write_tensors
from snakesteer.vectors.activations import Activations


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


def write_probe(path: str | Path, probe: Probe, header: Mapping[str, Any]) -> None:
    """Write a probe as safetensors, atomically; the header says where it comes from."""
    tensors = {"weight": probe.weight, "bias": np.array([probe.bias], dtype=np.float32)}
    write_tensors(path, tensors, header)


def read_probe(path: str | Path) -> Probe:
    """Read a probe.

    Raises:
        UserError: The file is missing, damaged, or no probe.
    """
    tensors, _ = read_tensors(path, "weight", "bias")
    return Probe(tensors["weight"], float(tensors["bias"][0]))
