"""DAC's strength against a computation in plain numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from snakesteer.steering.dac import dynamic_alpha, top_p_set
from tests.numpy_dac import numpy_alpha


def alpha_of(unsteered, probe, ptop, max_alpha, threshold, per_token=False):
    rows = [torch.tensor(np.asarray(x)).float()[None] for x in (unsteered, probe)]
    others = (ptop, max_alpha, threshold, per_token)
    return dynamic_alpha(*rows, *(torch.tensor([x]) for x in others)).item()


def probabilities(*values):
    return np.log(np.array(values))


class TestTopPSet:
    @pytest.mark.parametrize(
        ("mass", "expected"),
        [
            (0.01, [1]),  # never empty
            (0.49, [1]),
            (0.51, [1, 2]),  # the token that crosses is kept
            (0.79, [1, 2]),
            (0.81, [0, 1, 2]),
            (1.0, [0, 1, 2, 3]),
        ],
    )
    def test_the_crossing_token_is_kept(self, mass, expected):
        logits = torch.tensor(probabilities(0.15, 0.5, 0.3, 0.05))[None]
        kept = top_p_set(logits, torch.tensor([mass]))
        assert kept[0].nonzero().flatten().tolist() == expected

    def test_rows_have_their_own_mass(self):
        logits = torch.tensor(probabilities(0.15, 0.5, 0.3, 0.05)).repeat(2, 1)
        assert top_p_set(logits, torch.tensor([0.2, 0.9])).sum(-1).tolist() == [1, 3]

    @pytest.mark.parametrize("vocab", [1, 2, 37, 3000])
    def test_it_is_what_sorting_every_token_gives_ties_included(self, vocab):
        generator = torch.Generator().manual_seed(vocab)
        for scale in (0.0, 0.3, 3.0, 30.0):
            logits = torch.randn(8, vocab, generator=generator) * scale
            logits = logits.bfloat16().float()  # many equal ones
            logits[0, 1:] = -torch.inf
            mass = torch.tensor([0.3, 1.0, 0.01, 0.2, 0.5, 0.8, 0.95, 0.999])
            p, ids = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
            wanted = torch.zeros_like(p, dtype=torch.bool)
            wanted.scatter_(-1, ids, p.cumsum(-1) - p < mass[:, None])
            assert torch.equal(top_p_set(logits, mass), wanted)


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
        alphas = dynamic_alpha(
            torch.from_numpy(logits[:, 0].copy()),
            torch.from_numpy(logits[:, 1].copy()),
            torch.tensor(ptop),
            torch.tensor(max_alpha),
            torch.tensor(threshold),
            torch.tensor(per_token),
        )
        assert alphas.dtype == torch.float32
        assert (alphas >= 0).all()
        np.testing.assert_allclose(alphas, [alpha for alpha, _ in rows], rtol=1e-3, atol=1e-4)
