"""A probe is scikit-learn's logistic regression, in the space of the activations."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from snakesteer.errors import UserError
from snakesteer.vectors.probe_fits import fit_probe, label_metrics, probe_metrics
from snakesteer.vectors.probes import read_probe, write_probe
from tests.unit.examples import activations


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_scores_are_those_of_the_pipeline(c):
    train, val = activations(), activations(seed=1)
    probe = fit_probe(train, c)
    features = np.concatenate([train.positive, train.negative]).astype(np.float64)
    labels = np.array([1] * 40 + [0] * 40)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
    pipeline.fit(features, labels)
    np.testing.assert_allclose(
        probe.scores(val.positive),
        pipeline.decision_function(val.positive.astype(np.float64)),
        rtol=1e-4,
        atol=1e-4,
    )
    # A step along the weight changes the score by its squared length: it is a raw direction.
    step = val.positive + probe.weight
    change = probe.scores(step) - probe.scores(val.positive)
    np.testing.assert_allclose(change, probe.weight @ probe.weight, rtol=1e-3)


def test_a_feature_that_never_changes_has_no_weight():
    train = activations()
    positive, negative = train.positive.copy(), train.negative.copy()
    positive[:, 2] = negative[:, 2] = 7.0
    constant = dataclasses.replace(train, positive=positive, negative=negative)
    probe = fit_probe(constant, 1.0)
    assert np.isfinite(probe.weight).all()
    assert probe.weight[2] == 0.0


def test_metrics_are_those_of_sklearn():
    train, val = activations(gap=0.3), activations(gap=0.3, seed=1)
    probe = fit_probe(train, 1.0)
    scores = np.concatenate([probe.scores(val.positive), probe.scores(val.negative)])
    labels = np.array([1] * 40 + [0] * 40)
    report = classification_report(labels, scores > 0, output_dict=True)
    found = probe_metrics(probe, val)
    assert found == pytest.approx(
        {
            "auc": roc_auc_score(labels, scores),
            "accuracy": report["accuracy"],
            "precision": report["1"]["precision"],
            "recall": report["1"]["recall"],
            "f1": report["1"]["f1-score"],
        }
    )
    assert all(type(value) is float for value in found.values())
    assert 0.5 < found["accuracy"] < 1.0


def test_swapped_classes_turn_the_metrics_around():
    data = activations()
    swapped = dataclasses.replace(data, positive=data.negative, negative=data.positive)
    probe = fit_probe(data, 1.0)
    assert probe_metrics(probe, data)["auc"] > 0.9
    assert probe_metrics(probe, swapped)["auc"] < 0.1


def test_a_probe_that_never_says_right_has_precision_0():
    found = label_metrics(np.array([-1.0, -2.0], dtype=np.float32), np.array([1, 0]))
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)
    assert found["auc"] == 1.0


def test_round_trip_and_damage(tmp_path):
    probe, path = fit_probe(activations(), 1.0), tmp_path / "layer_3.safetensors"
    write_probe(path, probe, {"layer": 3, "c": 1.0})
    found = read_probe(path)
    np.testing.assert_array_equal(found.weight, probe.weight)
    assert found.bias == pytest.approx(probe.bias, rel=1e-6)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"layer_3\.safetensors"):
        read_probe(path)
