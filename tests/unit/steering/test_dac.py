"""DAC's strength against a computation in plain numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from snakesteer.steering import dac
from snakesteer.steering.dac import dynamic_alpha
from tests.numpy_dac import numpy_alpha


def both_ways(*arguments):
    """On a CPU row by row, and as a GPU computes it; the latter must agree."""
    alphas = dynamic_alpha(*arguments)
    at_once = dac._all_at_once(*arguments)
    assert alphas.dtype == at_once.dtype == torch.float32
    torch.testing.assert_close(at_once, alphas, rtol=1e-4, atol=1e-5)
    return alphas


def alpha_of(unsteered, probe, ptop, max_alpha, threshold, per_token=False):
    rows = [torch.tensor(np.asarray(x)).float()[None] for x in (unsteered, probe)]
    others = (ptop, max_alpha, threshold, per_token)
    return both_ways(*rows, *(torch.tensor([x]) for x in others)).item()


def probabilities(*values):
    return np.log(np.array(values))


class TestDynamicAlpha:
    def test_a_case_by_hand(self):
        """p = (.6, .3, .1), q = (.2, .7, .1), mass .5: sets {0} and {1}."""
        p, q = probabilities(0.6, 0.3, 0.1), probabilities(0.2, 0.7, 0.1)
        by_hand = 2 / 3 * math.log((2 / 3) / (2 / 9)) + 1 / 3 * math.log((1 / 3) / (7 / 9))
        assert alpha_of(p, q, 0.5, 9.0, 0.0) == pytest.approx(by_hand, rel=1e-5)

    def test_it_is_the_true_kl_of_unsteered_against_probe(self):
        """Neither the other direction nor a mean over the set."""
        p, q = probabilities(0.7, 0.2, 0.1), probabilities(0.1, 0.2, 0.7)
        forward = 0.7 * math.log(7) + 0.1 * math.log(1 / 7)
        assert alpha_of(p, q, 1.0, 9.0, 0.0) == pytest.approx(forward, rel=1e-5)
        p, q = probabilities(0.9, 0.05, 0.05), probabilities(0.4, 0.3, 0.3)
        forward = 0.9 * math.log(0.9 / 0.4) + 0.1 * math.log(0.05 / 0.3)
        backward = 0.4 * math.log(0.4 / 0.9) + 0.6 * math.log(0.3 / 0.05)
        assert alpha_of(p, q, 1.0, 9.0, 0.0) == pytest.approx(forward, rel=1e-5)
        assert abs(forward - backward) > 0.1

    def test_per_token_divides_by_the_number_of_tokens(self):
        """As the authors' code does; before the cap."""
        p, q = probabilities(0.6, 0.3, 0.1), probabilities(0.2, 0.7, 0.1)
        whole = alpha_of(p, q, 0.5, 9.0, 0.0)
        assert alpha_of(p, q, 0.5, 9.0, 0.0, per_token=True) == pytest.approx(whole / 2)
        assert alpha_of(p, q, 0.5, whole * 0.7, 0.0, per_token=True) == pytest.approx(whole / 2)

    def test_cap(self):
        p, q = probabilities(0.98, 0.01, 0.01), probabilities(0.01, 0.01, 0.98)
        assert alpha_of(p, q, 1.0, 9.0, 0.0) > 4.0
        assert alpha_of(p, q, 1.0, 1.5, 0.0) == 1.5
        assert alpha_of(p, q, 1.0, 0.0, 0.0) == 0.0

    def test_entropy_threshold(self):
        p, q = probabilities(0.5, 0.5), probabilities(0.9, 0.1)
        assert alpha_of(p, q, 1.0, 9.0, math.log(2) - 1e-3) > 0.1
        assert alpha_of(p, q, 1.0, 9.0, math.log(2) + 1e-3) == 0.0
        # The entropy is the whole unsteered distribution's, not the union's or the probe's.
        p, q = probabilities(0.6, 0.2, 0.1, 0.1), probabilities(0.97, 0.01, 0.01, 0.01)
        entropy = -sum(x * math.log(x) for x in (0.6, 0.2, 0.1, 0.1))
        assert alpha_of(p, q, 0.7, 9.0, entropy - 1e-3) > 0.0
        assert alpha_of(p, q, 0.7, 9.0, entropy + 1e-3) == 0.0

    def test_a_single_token_and_equal_distributions_give_zero(self):
        p = probabilities(0.9, 0.06, 0.04)
        assert alpha_of(p, probabilities(0.8, 0.1, 0.1), 0.5, 9.0, 0.0) == 0.0
        assert alpha_of(p, p, 1.0, 9.0, 0.0) == 0.0

    def test_tokens_that_a_model_rules_out(self):
        """Logits of −∞ are no probability, not a NaN."""
        p = [0.0, -math.inf, 1.0]
        assert alpha_of(p, [1.0, -math.inf, 0.0], 1.0, 9.0, 0.0) == pytest.approx(
            alpha_of([0.0, 1.0], [1.0, 0.0], 1.0, 9.0, 0.0)
        )
        with_a_rare_token = alpha_of([0.0, -50.0, 1.0], [1.0, 3.0, 0.0], 1.0, 9.0, 0.0)
        assert alpha_of(p, [1.0, 3.0, 0.0], 1.0, 9.0, 0.0) == pytest.approx(with_a_rare_token)
        # Ruled out by the probe stream alone: infinitely far apart, so the cap.
        assert alpha_of([1.0, 0.0], [1.0, -math.inf], 1.0, 9.0, 0.0) == 9.0

    @pytest.mark.parametrize("per_token", [False, True])
    def test_a_probe_that_breaks_the_model_differs_as_much_as_can_be(self, per_token):
        broken = [math.nan, math.nan]
        assert alpha_of([0.0, 1.0], broken, 0.5, 9.0, 0.0, per_token) == 9.0
        assert alpha_of([0.0, 1.0], broken, 0.5, 9.0, 5.0, per_token) == 0.0  # below the threshold

    @given(
        # Multiples of 1/64: equal or clearly different, also after a softmax in float32.
        arrays(np.float32, (3, 2, 9), elements=st.integers(-512, 512).map(lambda n: n / 64)),
        st.lists(st.floats(0.05, 0.99), min_size=3, max_size=3),
        st.lists(st.floats(0.0, 5.0), min_size=3, max_size=3),
        st.lists(st.floats(0.0, 2.2), min_size=3, max_size=3),
        st.lists(st.booleans(), min_size=3, max_size=3),
    )
    def test_equals_numpy(self, logits, ptop, max_alpha, threshold, per_token):
        """Row by row, each with parameters of its own, away from ties."""
        rows = [
            numpy_alpha(*logits[row], *(x[row] for x in (ptop, max_alpha, threshold, per_token)))
            for row in range(3)
        ]
        assume(min(margin for _, margin in rows) > 1e-4)
        alphas = both_ways(
            torch.from_numpy(logits[:, 0].copy()),
            torch.from_numpy(logits[:, 1].copy()),
            torch.tensor(ptop),
            torch.tensor(max_alpha),
            torch.tensor(threshold),
            torch.tensor(per_token),
        )
        assert (alphas >= 0).all()
        np.testing.assert_allclose(alphas, [alpha for alpha, _ in rows], rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_row_alone_has_the_same_bits(self, dtype):
        generator = torch.Generator().manual_seed(0)
        first = 3 * torch.randn(7, 1003, generator=generator)
        second = first + torch.randn(first.shape, generator=generator)
        settings = (
            torch.linspace(0.4, 0.95, 7),
            torch.tensor([2.0, 9.0, 0.0, 9.0, 9.0, 0.5, 9.0]),
            torch.tensor([-1.0, 0.5, 0.5, 9.0, 1.0, -1.0, 2.0]),
            torch.tensor([False, True] * 3 + [False]),
        )
        rows = (first.to(dtype), second.to(dtype), *settings)
        together = dynamic_alpha(*rows)
        assert (together > 0).tolist() == [True, True, False, False, True, True, True]
        alone = [dynamic_alpha(*(x[row : row + 1] for x in rows)) for row in range(7)]
        assert torch.equal(torch.cat(alone), together)

    def test_no_shape_and_no_step_depends_on_the_numbers(self):
        """A tensor without data goes through: what a CUDA graph needs."""
        rows = [torch.empty(5, 33, device="meta") for _ in range(2)]
        settings = [torch.empty(5, device="meta") for _ in range(3)]
        per_token = torch.empty(5, dtype=torch.bool, device="meta")
        assert dynamic_alpha(*rows, *settings, per_token).shape == (5,)
