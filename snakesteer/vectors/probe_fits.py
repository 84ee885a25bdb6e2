"""Fitting linear probes: can a layer's activations tell right from wrong solutions?"""

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

from snakesteer.records.tensors import Array
from snakesteer.vectors.activations import Activations
from snakesteer.vectors.probes import Probe


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
