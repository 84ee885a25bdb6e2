"""Operators against plain numpy, and what each promises."""

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import expm

from snakesteer.steering.operators import OPERATORS, apply_operator

HIDDEN = 8


def numpy_operator(operator, h, v, alpha, axis=None):
    """One position, in float64."""
    h, v = h.astype(np.float64), v.astype(np.float64)
    d = v / np.linalg.norm(v)
    match operator:
        case "add":
            return h + alpha * v
        case "clamp":
            without = h - (h @ d) * d
            return without + alpha * np.linalg.norm(v) * d
        case "norm_preserving":
            moved = h + alpha * v
            return moved / np.linalg.norm(moved) * np.linalg.norm(h)
        case "angular":
            # A rotation in the plane of an orthonormal basis, by a matrix.
            first = h / np.linalg.norm(h)
            second = d - (d @ first) * first
            second /= np.linalg.norm(second)
            basis = np.stack([first, second], axis=1)
            turn = np.array(
                [[math.cos(alpha), -math.sin(alpha)], [math.sin(alpha), math.cos(alpha)]]
            )
            return h + basis @ (turn - np.eye(2)) @ basis.T @ h
        case "ablate":
            # By a matrix, whose eigenvalue along v is 1 − α and 1 across it.
            return (np.eye(len(h)) - alpha * np.outer(v, v) / (v @ v)) @ h
        case "rotate":
            # The flow dh/dθ = (d·eᵀ − e·dᵀ)·h, for the time α.
            e = axis.astype(np.float64) - (axis.astype(np.float64) @ d) * d
            e /= np.linalg.norm(e)
            return expm(alpha * (np.outer(d, e) - np.outer(e, d))) @ h


def angle_between(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return math.acos(max(-1.0, min(1.0, cosine)))


def on_one(operator, h, v, alpha, axis=None):
    """The operator on one position, as numpy."""
    alphas = torch.tensor(alpha, dtype=torch.float32)
    axis = torch.from_numpy(AXIS if axis is None else axis)
    return apply_operator(operator, *map(torch.from_numpy, (h, v)), alphas, axis).numpy()


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal((*shape, HIDDEN)).astype(np.float32)


AXIS = normal(2)
vectors = arrays(np.float32, HIDDEN, elements=st.integers(-64, 64).map(lambda n: n / 8)).filter(
    lambda x: np.linalg.norm(x) > 1.0
)
strengths = st.floats(-3.0, 3.0).filter(lambda x: abs(x) > 1e-3)


@pytest.mark.parametrize("operator", OPERATORS)
def test_equals_numpy(operator):
    """A batch of rows and positions, each row with its own vector and each position its own α."""
    h, v, axis = normal(0, 3, 5), normal(1, 3, 1), normal(2, 3, 1)
    alpha = np.linspace(-2.0, 2.0, 15, dtype=np.float32).reshape(3, 5)  # one of them is 0
    found = apply_operator(operator, *map(torch.from_numpy, (h, v, alpha, axis)))
    for row in range(3):
        for position in range(5):
            wanted = h[row, position]
            if alpha[row, position] != 0.0:
                strength = float(alpha[row, position])
                wanted = numpy_operator(operator, wanted, v[row, 0], strength, axis[row, 0])
            np.testing.assert_allclose(found[row, position], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operator", OPERATORS)
def test_zero_is_off_bit_for_bit(operator, dtype):
    h = torch.from_numpy(normal(0, 4)).to(dtype)
    h[0] = 0.0
    h[1, 0] = -0.0
    v, axis = map(torch.from_numpy, (normal(1), AXIS))
    found = apply_operator(operator, h, v, torch.tensor([0.0, -0.0, 0.0, 0.5]), axis)
    assert found.dtype == dtype
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(found[:3].view(bits), h[:3].view(bits))
    assert not torch.equal(found[3], h[3])


@pytest.mark.parametrize("operator", OPERATORS)
def test_reduced_precision_is_the_rounded_float32_result(operator):
    h = torch.from_numpy(normal(0, 6)).bfloat16()
    rest = (torch.from_numpy(normal(1)), torch.tensor(0.7), torch.from_numpy(AXIS))
    exact, v = apply_operator(operator, h.float(), *rest), rest[0]
    difference = (apply_operator(operator, h, *rest).float() - exact).abs()
    one_rounding = exact.abs().clamp(min=v.abs().max().item()) * 2**-8
    assert (difference <= 1.01 * one_rounding).all()


@given(vectors, vectors, strengths)
def test_clamp_sets_the_component_and_nothing_else(h, v, alpha):
    d = v / np.linalg.norm(v)
    found = on_one("clamp", h, v, alpha)
    assert found @ d == pytest.approx(alpha * np.linalg.norm(v), rel=1e-3, abs=1e-3)
    np.testing.assert_allclose(found - (found @ d) * d, h - (h @ d) * d, atol=1e-3)
    np.testing.assert_allclose(on_one("clamp", found, v, alpha), found, atol=1e-3)


@given(vectors, vectors, strengths)
def test_norm_preserving_keeps_the_norm_and_takes_the_direction_of_the_sum(h, v, alpha):
    moved = h + np.float32(alpha) * v
    if np.linalg.norm(moved) < 1e-2:
        return
    found = on_one("norm_preserving", h, v, alpha)
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(h), rel=1e-3)
    assert angle_between(found, moved) < 2e-2


@given(vectors, vectors, st.floats(0.05, 3.0))
def test_angular_turns_by_the_angle_and_keeps_the_norm(h, v, angle):
    gap = angle_between(h, v)
    if min(gap, math.pi - gap) < 0.05:
        return
    towards, away = on_one("angular", h, v, angle), on_one("angular", h, v, -angle)
    for found in (towards, away):
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(h), rel=1e-4)
        assert angle_between(h, found) == pytest.approx(angle, abs=5e-3)
    if angle < gap:
        assert angle_between(towards, v) == pytest.approx(gap - angle, abs=5e-3)
    if angle < math.pi - gap:
        assert angle_between(away, v) == pytest.approx(gap + angle, abs=5e-3)
    np.testing.assert_allclose(on_one("angular", h, 3.0 * v, angle), towards, rtol=1e-3, atol=1e-3)


@given(vectors, vectors, strengths, st.sampled_from([-2.0, -1.0, 0.25, 8.0]))
def test_ablate_removes_a_share_of_the_component_and_nothing_else(h, v, share, factor):
    d = v / np.linalg.norm(v)
    found = on_one("ablate", h, v, share)
    assert found @ d == pytest.approx((1.0 - share) * (h @ d), rel=1e-3, abs=1e-3)
    np.testing.assert_allclose(found - (found @ d) * d, h - (h @ d) * d, atol=1e-3)
    without = on_one("ablate", h, v, 1.0)
    np.testing.assert_allclose(on_one("ablate", without, v, share), without, atol=1e-3)
    assert np.linalg.norm(found - h) <= abs(share) * np.linalg.norm(h) * 1.001
    # Neither the sign nor the length of v matters; a factor 2ⁿ changes no bit.
    np.testing.assert_array_equal(on_one("ablate", h, np.float32(factor) * v, share), found)


@given(vectors, vectors, vectors, st.floats(-3.0, 3.0), st.sampled_from([0.5, 8.0]))
def test_rotate_turns_in_one_plane_and_keeps_norm_and_rest(h, v, axis, angle, factor):
    d = v / np.linalg.norm(v)
    aside = axis - (axis @ d) * d
    if np.linalg.norm(aside) < 0.1 or abs(angle) < 1e-3:
        return
    plane = np.stack([d, aside / np.linalg.norm(aside)]).astype(np.float64)  # [2, hidden]
    found = on_one("rotate", h, v, angle, axis)
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(h), rel=1e-4)
    np.testing.assert_allclose(found - (plane @ found) @ plane, h - (plane @ h) @ plane, atol=1e-3)
    # Complex numbers turn from the second axis to the first where the angle grows.
    before, after = (complex(y, x) for x, y in (plane @ h, plane @ found))
    assert after == pytest.approx(before * cmath.exp(1j * angle), abs=2e-3)
    # It is linear, and −v turns the other way.
    turned = on_one("rotate", h, -v, angle, axis)
    np.testing.assert_allclose(turned, on_one("rotate", h, v, -angle, axis), atol=1e-3)
    np.testing.assert_allclose(on_one("rotate", found, v, -angle, axis), h, atol=1e-3)
    longer = on_one("rotate", h, np.float32(factor) * v, angle, np.float32(factor) * axis)
    np.testing.assert_array_equal(longer, found)


def test_a_positive_rotation_brings_the_mean_towards_v():
    """The axis is the mean of the stream: what lies along it turns towards v, and not away."""
    v, mean = normal(1), normal(3)
    turned = on_one("rotate", mean, v, 0.2, mean)
    assert angle_between(turned, v) == pytest.approx(angle_between(mean, v) - 0.2, abs=1e-4)


@pytest.mark.parametrize("operator", OPERATORS)
def test_degenerate_positions_stay_finite(operator):
    v = normal(1)
    for h in (np.zeros(HIDDEN, np.float32), v, -v, 2.0 * v):
        assert np.isfinite(on_one(operator, h, v, 1.0)).all()
        assert np.isfinite(on_one(operator, h, np.zeros(HIDDEN, np.float32), 1.0)).all()
    np.testing.assert_array_equal(on_one("angular", 2.0 * v, v, 1.0), 2.0 * v)
    np.testing.assert_array_equal(on_one("norm_preserving", -v, v, 1.0), -v)
    np.testing.assert_array_equal(on_one("ablate", v, 0.0 * v, 1.0), v)
    np.testing.assert_allclose(on_one("ablate", -v, v, 1.0), 0.0 * v, atol=1e-6)
    for axis in (0.0 * v, 3.0 * v, -v):  # there is no plane
        np.testing.assert_array_equal(on_one("rotate", AXIS, v, 1.0, axis), AXIS)
