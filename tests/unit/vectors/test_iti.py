"""ITI against numpy and scikit-learn, written out."""

import logging

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from snakesteer.errors import UserError
from snakesteer.vectors.activations import TOKEN_ENTRY, Activations
from snakesteer.vectors.iti import Head, best_heads, iti_vector, layer_heads

HEADS, DIM, TRAIN, VAL = 4, 3, 40, 30
# How far right and wrong solutions lie apart for each head, by layer.
GAPS = ((0.0, 3.0, 0.3, 0.0), (1.0, 0.0, 0.0, 5.0))


def activations(layer, pairs, seed):
    rng = np.random.default_rng(seed + layer)
    right, wrong = rng.normal(size=(2, pairs, HEADS, DIM))
    for head, gap in enumerate(GAPS[layer]):
        right[:, head, head % DIM] += gap
        right[:, head] *= 2.0  # so that standardising matters
    flat = [x.reshape(pairs, -1).astype(np.float32) for x in (right, wrong)]
    norm = rng.uniform(1, 2, size=(pairs, 2)).astype(np.float32)
    ids = tuple(f"p{n}" for n in range(pairs))
    return Activations(
        ids, *flat, norm, flat[0].mean(axis=0), np.empty(0, TOKEN_ENTRY), {"layer": layer}
    )


def by_hand(train, val, head):
    """Accuracy and AUC of one head's probe on validation pairs, and σ·θ."""
    columns = slice(DIM * head, DIM * (head + 1))
    x = np.concatenate([train.positive[:, columns], train.negative[:, columns]]).astype(float)
    y = np.array([1] * TRAIN + [0] * TRAIN)
    mean, std = x.mean(axis=0), x.std(axis=0)
    model = LogisticRegression(C=0.5, max_iter=1000).fit((x - mean) / std, y)
    unseen = np.concatenate([val.positive[:, columns], val.negative[:, columns]])
    labels = np.array([1] * VAL + [0] * VAL)
    scores = model.decision_function((unseen - mean) / std)
    shift = x[:TRAIN].mean(axis=0) - x[TRAIN:].mean(axis=0)
    theta = shift / np.sqrt(np.sum(shift**2))
    along = x @ theta
    sigma = np.sqrt(np.mean((along - along.mean()) ** 2))
    return np.mean((scores > 0) == labels), roc_auc_score(labels, scores), sigma * theta


def test_heads_and_vector_equal_a_computation_by_hand():
    every, expected, norms = [], {}, []
    for layer in (0, 1):
        train, val = activations(layer, TRAIN, 10), activations(layer, VAL, 20)
        every += layer_heads(train, val, HEADS, c=0.5)
        norms.append(float(train.residual_norm.mean()))
        expected |= {(layer, head): by_hand(train, val, head) for head in range(HEADS)}
    assert [(head.layer, head.number) for head in every] == list(expected)
    for head, (accuracy, auc, push) in zip(every, expected.values(), strict=True):
        assert head.accuracy == pytest.approx(accuracy)
        assert head.auc == pytest.approx(auc, abs=1e-3)
        np.testing.assert_allclose(head.push, push, rtol=1e-4)
    chosen = best_heads(every, 3)
    ranked = sorted(expected, key=lambda at: (-expected[at][0], -expected[at][1]))
    assert [(head.layer, head.number) for head in chosen] == ranked[:3]
    assert set(ranked[:3]) == {(0, 1), (1, 0), (1, 3)}  # those that were made to know
    vector = iti_vector(chosen, HEADS, norms)
    delta = np.zeros((1, 2, HEADS, DIM))
    for at in ranked[:3]:
        delta[0][at] = expected[at][2]
    assert vector.method == "iti"
    assert vector.delta.dtype == np.float32
    np.testing.assert_allclose(vector.delta, delta.reshape(1, 2, HEADS * DIM), rtol=1e-4)
    lengths = np.linalg.norm(vector.delta[0], axis=1)
    assert vector.dose_at_alpha_1 == pytest.approx(np.mean(lengths / norms))


def head(layer, number, accuracy, auc, push=1.0):
    return Head(layer, number, accuracy, auc, np.full(2, push, np.float32))


def test_of_equal_accuracies_the_higher_auc_wins_then_the_first():
    heads = [head(1, 0, 0.7, 0.8), head(0, 1, 0.7, 0.8), head(0, 0, 0.7, 0.9), head(2, 0, 0.6, 1.0)]
    assert [(h.layer, h.number) for h in best_heads(heads, 3)] == [(0, 0), (0, 1), (1, 0)]


def test_more_heads_than_there_are_is_a_warning(caplog):
    heads = [head(0, 0, 0.7, 0.8), head(0, 1, 0.9, 0.9, push=0.0)]
    with caplog.at_level(logging.WARNING):
        assert best_heads(heads, 48) == heads[:1]  # what cannot be pushed is left out
    assert "heads.iti_heads is 48; the model has 1 such heads" in caplog.text
    with pytest.raises(UserError, match="look the same to every attention head"):
        best_heads(heads[1:], 48)
