"""Planted worlds in which tokens and being right add known vectors: one is told from the other."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from snakesteer.errors import UserError
from snakesteer.steering.vector import Vector
from snakesteer.vectors.activations import TOKEN_ENTRY, Activations, read_activations
from snakesteer.vectors.capture import write_activations
from snakesteer.vectors.directions.caa import mean_difference
from snakesteer.vectors.estimate import diagnose
from snakesteer.vectors.token_means import (
    TokenEffects,
    crossed_part,
    read_token_effects,
    remove_token_means,
    token_effects,
    token_shares,
    without_part,
)
from tests.loaded_models import loaded_model
from tests.unit.examples import one_token_each
from tests.unit.vectors.test_capture import pairs_of_texts

PAIRS, HIDDEN, TOKENS = 400, 24, 6
AXES = np.eye(HIDDEN)
# Being right adds this; tokens lie across it.
EFFECT = AXES[0]
OF_TOKENS = 3.0 * AXES[1 : TOKENS + 1]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def world(read, effect=0.0, noise=0.3, seed=0):
    """Activations ``base + of the token + effect`` where ``read`` are the tokens, ``[pairs, 2]``.

    Every second pair carries the effect.
    """
    draw = np.random.default_rng(seed)
    pairs = len(read)
    base = draw.normal(size=(pairs, HIDDEN)) + 5.0
    sides = [base + OF_TOKENS[read[:, side]] for side in (0, 1)]
    sides[0] = sides[0] + effect * EFFECT * (np.arange(pairs) % 2)[:, None]
    sides = [side + noise * draw.normal(size=side.shape) for side in sides]
    return Activations(
        ids=tuple(f"p{n}" for n in range(pairs)),
        positive=sides[0].astype(np.float32),
        negative=sides[1].astype(np.float32),
        residual_norm=np.ones((pairs, 2), np.float32),
        residual_mean=np.zeros(HIDDEN, np.float32),
        tokens=one_token_each(read),
        attributes={"layer": 3},
    )


def skewed(seed=1):
    """Tokens of which right sides have more small ones, wrong sides more large ones."""
    draw, small = np.random.default_rng(seed), np.arange(TOKENS, 0.0, -1.0)
    chances = small / small.sum()
    right, wrong = (draw.choice(TOKENS, size=PAIRS, p=p) for p in (chances, chances[::-1]))
    return np.stack([right, wrong], axis=1)


def balanced(seed=1):
    """The same tokens on either side, in another order."""
    draw = np.random.default_rng(seed)
    one = draw.integers(TOKENS, size=PAIRS)
    return np.stack([one, draw.permutation(one)], axis=1)


def vector(raw):
    return Vector("caa", 3, raw.astype(np.float32), 1.0)


def test_a_world_of_tokens_alone_is_predicted_by_tokens(caplog):
    data = world(skewed())
    found = diagnose(vector(mean_difference(data)), data)
    assert found.token_cosine > 0.99
    assert found.token_share > 0.98
    [warning] = found.warnings
    assert warning.startswith("mostly token identity")
    assert "pairs.remove_token_means: true" in warning
    assert f"caa, layer 3: {warning}" in caplog.text


def test_a_balanced_world_is_not(caplog):
    data = world(balanced(), effect=2.0)
    found = diagnose(vector(mean_difference(data)), data)
    assert abs(found.token_share) < 0.05
    assert found.token_cosine < 0.2
    assert found.warnings == ()
    assert not caplog.records


def test_where_both_sides_are_read_at_the_same_tokens_they_predict_nothing():
    one = balanced()[:, :1]
    data = world(np.hstack([one, one]), effect=2.0)
    raw = mean_difference(data)
    found = diagnose(vector(raw), data)
    assert (found.token_cosine, found.token_share) == (0.0, 0.0)
    np.testing.assert_allclose(
        mean_difference(without_part(data, crossed_part(data))), raw, atol=1e-4
    )


def test_tokens_that_add_nothing_are_no_warning_where_they_only_go_with_being_right():
    data = world(skewed(), effect=2.0)
    rows = skewed()
    less = [data.positive - OF_TOKENS[rows[:, 0]], data.negative - OF_TOKENS[rows[:, 1]]]
    positive, negative = (side.astype(np.float32) for side in less)
    data = replace(data, positive=positive, negative=negative)
    found = diagnose(vector(mean_difference(data)), data)
    assert found.token_cosine > 0.8  # along the effect, but short
    assert found.token_share < 0.5
    assert found.warnings == ()


def test_labels_do_not_leak_through_tokens_that_are_read_once():
    read = np.arange(2 * PAIRS).reshape(PAIRS, 2)
    data = replace(world(balanced(), effect=2.0), tokens=one_token_each(read))
    right, wrong = crossed_part(data)
    assert not right.any()
    assert not wrong.any()


def test_what_tokens_add_is_taken_off_and_the_effect_stays():
    data = world(skewed(), effect=2.0)
    raw, pure = mean_difference(data), EFFECT
    tokens = (skewed()[:, 0, None] == np.arange(TOKENS)).mean(axis=0) @ OF_TOKENS
    tokens -= (skewed()[:, 1, None] == np.arange(TOKENS)).mean(axis=0) @ OF_TOKENS
    left = mean_difference(without_part(data, crossed_part(data)))
    assert cosine(raw, tokens) > 0.75
    assert cosine(raw, pure) < 0.65
    assert abs(cosine(left, tokens)) < 0.1
    assert cosine(left, pure) > 0.97
    # Right sides have tokens of their own, and an effect that goes with them goes with them.
    assert 0.7 < left @ EFFECT < 1.0
    np.testing.assert_allclose(
        raw - left, (crossed_part(data)[0] - crossed_part(data)[1]).mean(0), atol=1e-5
    )


def test_effects_of_single_tokens_are_their_means_without_labels():
    read = skewed()
    data = world(read, effect=2.0)
    found = token_effects(data)
    rows = np.concatenate([data.positive, data.negative]).astype(np.float64)
    of_row = read.T.ravel()
    assert found.tokens == tuple(range(TOKENS))
    for token in range(TOKENS):
        mean = rows[of_row == token].mean(axis=0) - rows.mean(axis=0)
        np.testing.assert_allclose(found.effect[token], mean, atol=1e-5)


def test_every_pair_is_predicted_by_others_alone():
    data = world(skewed()[:50])
    before = crossed_part(data)[0]
    changed = data.positive.copy()
    changed[7] += 100.0
    after = crossed_part(replace(data, positive=changed))[0]
    assert np.array_equal(before[7], after[7])
    same = (before == after).all(axis=1)
    assert same.sum() == 10  # its fifth of the pairs


def test_spans_are_a_ridge_regression_on_shares():
    draw = np.random.default_rng(0)
    spans = draw.integers(TOKENS, size=(PAIRS, 2, 12))
    entries, shares = [], np.zeros((2 * PAIRS, TOKENS))
    for (pair, side), _ in np.ndenumerate(spans[:, :, 0]):
        for token, count in zip(*np.unique(spans[pair, side], return_counts=True), strict=True):
            entries.append((pair, side, token, count / 12))
            shares[side * PAIRS + pair, token] = count / 12
    data = replace(world(balanced(), noise=0.05), tokens=np.array(entries, TOKEN_ENTRY))
    outputs = shares @ OF_TOKENS + 0.05 * draw.normal(size=(2 * PAIRS, HIDDEN)) + 4.0
    right, wrong = np.split(outputs.astype(np.float32), 2)
    data = replace(data, positive=right, negative=wrong)
    np.testing.assert_array_equal(token_shares(data.tokens, PAIRS, range(TOKENS)), shares)
    found = token_effects(data)
    centred = outputs.astype(np.float32).astype(np.float64)
    centred -= centred.mean(axis=0)
    by_hand = [
        Ridge(alpha=alpha, fit_intercept=False).fit(shares, centred).coef_.T
        for alpha in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    ]
    assert min(np.abs(found.effect - each).max() for each in by_hand) < 1e-5
    left = without_part(data, crossed_part(data))
    spread = np.concatenate([left.positive, left.negative]).std(axis=0)
    assert spread[1 : TOKENS + 1].max() < 0.06  # no more than the noise
    assert outputs.std(axis=0)[1] > 0.3


def test_an_unknown_token_adds_nothing():
    effects = TokenEffects((2, 5), np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    right, wrong = effects.part(one_token_each(np.array([[5, 9], [2, 5]])), 2)
    np.testing.assert_array_equal(right, [[3, 4], [1, 2]])
    np.testing.assert_array_equal(wrong, [[0, 0], [3, 4]])


def test_files_without_token_means(tmp_path):
    pairs = pairs_of_texts()
    for split, texts in (("train", pairs), ("val", pairs[:2])):
        write_activations(tmp_path / split, loaded_model("llama"), texts, [1], {"model": "tiny"})
    old = [tmp_path / split / "layer_1.h5" for split in ("train", "val")]
    new = [tmp_path / "new" / path.parent.name / path.name for path in old]
    remove_token_means(*old, *new, tmp_path / "effects.safetensors")
    own, unseen = map(read_activations, old)
    effects = read_token_effects(tmp_path / "effects.safetensors")
    np.testing.assert_array_equal(effects.effect, token_effects(own).effect)
    parts = crossed_part(own), effects.part(unseen.tokens, 2)
    for path, before, (right, wrong) in zip(new, (own, unseen), parts, strict=True):
        found = read_activations(path)
        np.testing.assert_allclose(found.positive, before.positive - right, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.negative, before.negative - wrong, rtol=1e-5, atol=1e-6)
        assert not np.array_equal(found.negative, before.negative)
        assert (found.ids, found.attributes) == (before.ids, before.attributes)
        for name in ("tokens", "residual_norm", "residual_mean"):
            np.testing.assert_array_equal(getattr(found, name), getattr(before, name))
    bytes_ = [path.read_bytes() for path in new]
    remove_token_means(*old, *new)
    assert [path.read_bytes() for path in new] == bytes_


def test_damaged_effects_name_their_file(tmp_path):
    (tmp_path / "layer_1.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"layer_1\.safetensors"):
        read_token_effects(tmp_path / "layer_1.safetensors")
