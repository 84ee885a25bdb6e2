"""Tokens are chosen as the probabilities say, and by a request's own numbers alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from snakesteer.engine.interface import Decoding
from snakesteer.engine.sampling import choose, uniforms

VOCAB = 12
LOGITS = torch.randn(VOCAB, generator=torch.Generator().manual_seed(3)) * 2
ALMOST_ONE = np.nextafter(1.0, 0.0)


def choose_many(logits, decoding, uniform):
    """The token for each of many uniform numbers and the same logits."""
    uniform = torch.as_tensor(uniform, dtype=torch.float64)
    return choose(logits.expand(len(uniform), -1), decoding, uniform)


def warped(logits, decoding):
    """Probabilities after HuggingFace's warpers, in the order that ``generate`` applies them."""
    scores = TemperatureLogitsWarper(decoding.temperature)(None, logits[None])
    if decoding.top_k:
        scores = TopKLogitsWarper(decoding.top_k)(None, scores)
    if decoding.top_p < 1.0:
        scores = TopPLogitsWarper(decoding.top_p)(None, scores)
    return scores[0].double().softmax(-1).numpy()


SETTINGS = [
    Decoding(1.0),
    Decoding(0.35),
    Decoding(2.0),
    Decoding(1.0, top_k=1),
    Decoding(1.0, top_k=4),
    Decoding(1.0, top_k=VOCAB),
    Decoding(1.0, top_k=500),
    Decoding(1.0, top_p=0.05),
    Decoding(1.0, top_p=0.6),
    Decoding(1.0, top_p=0.95),
    Decoding(0.7, top_p=0.9, top_k=5),
    Decoding(1.5, top_p=0.5, top_k=3),
]


class TestUniforms:
    def test_a_stream_is_its_seeds_alone(self):
        assert torch.equal(uniforms(5, 8), uniforms(5, 8))
        assert torch.equal(uniforms(5, 8), uniforms(5, 100)[:8])
        assert not torch.equal(uniforms(5, 8), uniforms(6, 8))

    def test_values(self):
        """Fixed: results of an earlier release can be had again."""
        stream = uniforms(0, 20_000)
        assert stream.dtype == torch.float64
        assert stream[:3].tolist() == pytest.approx([0.01154675, 0.2415492, 0.11142586], abs=1e-7)
        assert ((stream >= 0) & (stream < 1)).all()
        counts, _ = np.histogram(stream, bins=20, range=(0, 1))
        assert chisquare(counts).pvalue > 1e-3

    def test_neighbouring_seeds_are_unrelated(self):
        streams = torch.stack([uniforms(seed, 2000) for seed in range(4)])
        correlations = torch.corrcoef(streams) - torch.eye(4, dtype=torch.float64)
        assert correlations.abs().max() < 0.1


class TestGreedy:
    def test_is_argmax(self):
        logits = torch.randn(50, VOCAB, generator=torch.Generator().manual_seed(0))
        assert torch.equal(choose(logits, Decoding()), logits.argmax(-1))
        assert torch.equal(choose(logits, Decoding(), torch.rand(50)), logits.argmax(-1))

    def test_the_lower_id_wins_a_tie(self):
        assert choose(torch.tensor([[0.0, 2.0, 2.0]]), Decoding()).item() == 1


class TestSampling:
    def test_needs_numbers(self):
        with pytest.raises(ValueError, match="uniform"):
            choose(LOGITS[None], Decoding(1.0))

    @pytest.mark.parametrize("decoding", SETTINGS, ids=str)
    def test_frequencies_match_the_warped_softmax(self, decoding):
        """Chi-square on 20,000 draws with a fixed seed; no draw from outside the set."""
        expected = warped(LOGITS, decoding)
        drawn = choose_many(LOGITS, decoding, uniforms(11, 20_000))
        counts = np.bincount(drawn, minlength=VOCAB)
        assert (counts[expected == 0] == 0).all()
        kept = expected > 0
        if kept.sum() > 1:
            assert chisquare(counts[kept], expected[kept] * len(drawn)).pvalue > 1e-3

    @pytest.mark.parametrize("decoding", SETTINGS, ids=str)
    def test_every_token_has_an_interval_as_long_as_its_probability(self, decoding):
        grid = (np.arange(20_000) + 0.5) / 20_000
        counts = np.bincount(choose_many(LOGITS, decoding, grid), minlength=VOCAB)
        np.testing.assert_allclose(counts / len(grid), warped(LOGITS, decoding), atol=1e-4)

    @given(
        # Far enough apart that float32 probabilities tell them apart.
        st.lists(st.integers(-6000, 6000), min_size=2, max_size=10, unique=True),
        st.floats(0.2, 2.0),
        st.floats(0.05, 0.99),
        st.integers(1, 10),
        st.integers(0, 10_000),
    )
    def test_the_token_is_in_huggingfaces_set(self, logits, temperature, top_p, top_k, seed):
        decoding = Decoding(temperature, top_p, top_k)
        logits = torch.tensor(logits) / 1000
        # A hair to either side, where float32 sums decide which token crosses the mass.
        allowed = sum(
            warped(logits, Decoding(temperature, mass, top_k))
            for mass in (top_p, min(top_p + 1e-5, 1.0))
        )
        assert (allowed[choose_many(logits, decoding, uniforms(seed, 20))] > 0).all()

    @pytest.mark.parametrize("decoding", SETTINGS, ids=str)
    def test_edges_of_the_uniform_number(self, decoding):
        """0 is the lowest id that is kept, just below 1 the highest."""
        kept = np.flatnonzero(warped(LOGITS, decoding))
        edges = choose_many(LOGITS, decoding, [0.0, ALMOST_ONE])
        assert edges.tolist() == [kept[0], kept[-1]]

    def test_an_interval_holds_its_lower_end(self):
        assert choose_many(torch.zeros(2), Decoding(1.0), [0.5, 0.5 - 1e-7]).tolist() == [1, 0]

    def test_a_number_that_float32_rounded_to_one(self):
        uniform = torch.tensor([ALMOST_ONE], dtype=torch.float32)
        assert uniform.item() == 1.0
        highest = LOGITS.topk(3).indices.max()
        assert choose(LOGITS[None], Decoding(1.0, top_k=3), uniform).item() == highest

    @pytest.mark.parametrize("decoding", SETTINGS, ids=str)
    def test_float32_differs_from_float64_at_boundaries_alone(self, decoding):
        """A large vocabulary, numpy's float64 as the truth."""
        logits = 2 * torch.randn(20_000, generator=torch.Generator().manual_seed(1))
        probabilities = warped(logits.double(), decoding)
        numbers = uniforms(3, 2_000)
        cumulative = probabilities.cumsum() / probabilities.sum()
        wanted = np.searchsorted(cumulative, numbers.numpy(), side="right")
        found = torch.cat([choose_many(logits, decoding, part) for part in numbers.split(200)])
        different = np.flatnonzero(found.numpy() != wanted)
        boundaries = np.minimum(found.numpy(), wanted)[different]
        assert (np.abs(cumulative[boundaries] - numbers.numpy()[different]) < 1e-5).all()
        assert len(different) < 0.02 * len(numbers)

    @pytest.mark.parametrize("decoding", [Decoding(1.0, top_k=3), Decoding(1.0, top_p=0.55)])
    def test_of_equal_tokens_those_with_lower_ids_are_kept(self, decoding):
        logits = torch.tensor([0.0, 1.0, 1.0, -9.0, 1.0, 1.0, 1.0])
        grid = (np.arange(900) + 0.5) / 900
        counts = np.bincount(choose_many(logits, decoding, grid), minlength=7)
        assert counts.tolist() == [0, 300, 300, 0, 300, 0, 0]

    def test_close_distributions_get_the_same_tokens_from_the_same_numbers(self):
        """Also where the likeliest token is another: paired answers differ by steering alone."""
        first, second = torch.tensor([[0.40, 0.39, 0.21], [0.39, 0.40, 0.21]]).log()
        numbers = uniforms(5, 4_000)
        same = choose_many(first, Decoding(1.0), numbers) == choose_many(
            second, Decoding(1.0), numbers
        )
        assert 0.98 < same.float().mean() < 1.0

    def test_no_shape_and_no_step_depends_on_the_numbers(self):
        """A tensor without data goes through: what a CUDA graph needs."""
        logits = torch.empty(5, VOCAB, device="meta")
        for decoding in SETTINGS:
            assert choose(logits, decoding, torch.empty(5, device="meta")).shape == (5,)

    def test_impossible_tokens_are_never_chosen(self):
        logits = LOGITS.clone()
        logits[::2] = -torch.inf
        drawn = choose_many(logits, Decoding(2.0), [0.0, 0.3, 0.999999, ALMOST_ONE])
        assert (drawn % 2 == 1).all()
        one = torch.full((VOCAB,), -torch.inf)
        one[7] = 0.0
        assert choose_many(one, Decoding(1.0, 0.9, 3), [0.0, ALMOST_ONE]).tolist() == [7, 7]

    def test_a_large_vocabulary_ends_within_it(self):
        """150,000 equal probabilities add up to 1 only roughly."""
        logits = torch.zeros(150_000)
        assert choose_many(logits, Decoding(1.0), [0.0, ALMOST_ONE]).tolist() == [0, 149_999]

    def test_temperature_limits(self):
        numbers = uniforms(1, 500)
        cold = choose_many(LOGITS, Decoding(1e-4), numbers)
        assert (cold == LOGITS.argmax()).all()
        coldest = choose_many(LOGITS, Decoding(1e-300), numbers)
        assert (coldest == LOGITS.argmax()).all()
        grid = (np.arange(1200) + 0.5) / 1200
        hot = np.bincount(choose_many(LOGITS, Decoding(1e6), grid), minlength=VOCAB)
        np.testing.assert_allclose(hot, 100, atol=1)

    def test_rows_are_independent_and_dtype_does_not_matter(self):
        generator = torch.Generator().manual_seed(9)
        logits = torch.randn(40, VOCAB, generator=generator).bfloat16()
        numbers, decoding = uniforms(4, 40), Decoding(0.9, 0.9, 8)
        together = choose(logits, decoding, numbers)
        alone = [choose(logits[i : i + 1], decoding, numbers[i : i + 1]).item() for i in range(40)]
        assert together.tolist() == alone
        assert torch.equal(together, choose(logits.float(), decoding, numbers))
        assert together.dtype == torch.int64

    def test_the_logits_are_left_alone(self):
        logits = LOGITS[None].clone()
        choose(logits, Decoding(0.5, 0.5, 3), uniforms(0, 1))
        assert torch.equal(logits[0], LOGITS)
