"""Contrasts of heads by step against a plain loop: one prompt, one token and one pass at a time."""

import dataclasses
from operator import attrgetter

import numpy as np
import pytest
import torch

from snakesteer.config import PromptConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine, greedy_answers
from snakesteer.errors import UserError
from snakesteer.steering.vector import HeadVector, read_head_vector, write_head_vector
from snakesteer.vectors.dac_heads import contrast, contrast_prompts, step_means
from snakesteer.vectors.pairs import Pair
from tests.loaded_models import loaded_model, prompt_ids
from tests.tiny_models import EOS, tiny_tokenizer
from tests.unit.engine.reference.test_heads import FAMILIES, PROJECTIONS

PAIRS = [
    Pair(f"p{n}", f"{n}+{n}?", (f"It is {2 * n}.", "No."), (f"It is {2 * n + 1}.",))
    for n in range(9)
]
CONFIG = PromptConfig(template="Q {question}\nA", separator="\n")
STEPS = 6


@torch.no_grad()
def plain_loop(family, ids, stop):
    """Heads' outputs at the last position of every step, ``[steps, layers, width]``."""
    model, ids, steps = loaded_model(family).model, list(ids), []
    blocks, projection = PROJECTIONS[family]
    for _ in range(STEPS):
        seen = []
        handles = [
            attrgetter(projection)(block).register_forward_pre_hook(
                lambda _m, inputs, seen=seen: seen.append(inputs[0][0, -1].numpy().copy())
            )
            for block in attrgetter(blocks)(model)
        ]
        token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        for handle in handles:
            handle.remove()
        steps.append(seen)
        ids.append(token)
        if token == EOS or stop in tiny_tokenizer().decode([token]):
            break
    return np.array(steps)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_means_equal_a_plain_loop(family, ends):
    prompts = prompt_ids() + prompt_ids(("2+2", "a cat", "One two three"))
    stop = a_character_in_some_answers(family, prompts) if ends else "\0"
    loaded = loaded_model(family)
    answer = greedy_answers(loaded, [stop], STEPS, batch_size=3)
    found = step_means(loaded, prompts, answer, STEPS, batch_size=3)
    plain = [plain_loop(family, ids, stop) for ids in prompts]
    count = [sum(len(steps) > i for steps in plain) for i in range(max(map(len, plain)))]
    assert found.count.tolist() == count
    if ends:
        assert min(count) < 7  # later steps have fewer answers
    for step in range(len(count)):
        mean = np.mean([steps[step] for steps in plain if len(steps) > step], axis=0)
        np.testing.assert_allclose(found.mean[step], mean, rtol=1e-3, atol=1e-5)
    lengths = np.linalg.norm(np.concatenate(plain), axis=-1).mean(axis=0)
    np.testing.assert_allclose(found.norm, lengths, rtol=1e-4)


def a_character_in_some_answers(family, prompts):
    engine = ReferenceEngine(loaded_model(family), Decoding(), 8)
    answers = engine.generate([Request(ids, STEPS) for ids in prompts])
    texts = [answer.text for answer in answers]
    return next(
        c for c in sorted("".join(texts)) if sum(c in text[:-1] for text in texts) in (1, 2, 3)
    )


def test_the_contrast_is_right_minus_wrong_where_both_have_steps():
    loaded = loaded_model("llama")
    right, wrong = (
        step_means(loaded, prompts, greedy_answers(loaded, [], steps, 2), steps, 2)
        for prompts, steps in ((prompt_ids()[:2], STEPS), (prompt_ids()[2:], 3))
    )
    found = contrast(right, wrong)
    assert found.method == "dac_heads"
    assert found.delta.shape == (3, 4, 32)
    np.testing.assert_allclose(found.delta, right.mean[:3] - wrong.mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.norm, (right.norm + wrong.norm) / 2, rtol=1e-6)


def test_prompts_differ_in_the_examples_solutions_alone():
    tokenizer = tiny_tokenizer()
    prompts = contrast_prompts(CONFIG, tokenizer, PAIRS, 40, 3, seed=1)
    assert prompts == contrast_prompts(CONFIG, tokenizer, PAIRS, 40, 3, seed=1)
    assert prompts != contrast_prompts(CONFIG, tokenizer, PAIRS, 40, 3, seed=2)
    by_question = {pair.question: pair for pair in PAIRS}
    asked = []
    for right, wrong in prompts:
        parts = [tokenizer.decode(ids).split("Q ")[1:] for ids in (right, wrong)]
        shown = []
        for a, b in zip(*parts, strict=True):
            question = a.partition("\nA")[0]
            assert b.partition("\nA")[0] == question
            shown.append(question)
            pair = by_question[question]
            if len(shown) == 4:
                assert (a, b) == (f"{question}\nA", f"{question}\nA")
            else:
                assert a == f"{question}\nA {pair.positive[0]}\n"
                assert b == f"{question}\nA {pair.negative[0]}\n"
        assert len(set(shown)) == 4  # the question is not among its examples
        asked.append(shown[-1])
    assert len(set(asked)) == 9  # every pair is asked about, some more than once


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"only 9 contrast pairs"):
        contrast_prompts(CONFIG, tiny_tokenizer(), PAIRS, 2, 9, 0)
    short = dataclasses.replace(loaded_model("llama"), context=20)
    with pytest.raises(UserError, match=r"heads\.steps \(6\) do not fit") as caught:
        step_means(short, prompt_ids(), greedy_answers(short, [], STEPS, 2), STEPS, 2)
    assert "heads.examples" in caught.value.remedy


class TestFile:
    DELTA = np.zeros((2, 3, 4), np.float32)
    DELTA[0, 0, 0], DELTA[1, 0, 1], DELTA[0, 2, 3] = 3.0, 1.0, -2.0
    NORM = np.array([2.0, 5.0, 4.0], np.float32)

    def test_dose_is_the_mean_over_steps_and_steered_layers(self):
        vector = HeadVector("dac_heads", self.DELTA, self.NORM)
        dose = (3 / 2 + 1 / 2 + 2 / 4 + 0) / 4
        assert vector.dose_at_alpha_1 == pytest.approx(dose)
        assert vector.dose(-2.0) == pytest.approx(-2 * dose)
        assert vector.alpha(vector.dose(0.7)) == pytest.approx(0.7)

    def test_written_and_read(self, tmp_path):
        path = tmp_path / "dac_heads.safetensors"
        write_head_vector(path, HeadVector("dac_heads", self.DELTA, self.NORM), {"model": "m"})
        found = read_head_vector(path)
        assert found.method == "dac_heads"
        np.testing.assert_array_equal(found.delta, self.DELTA)
        np.testing.assert_array_equal(found.norm, self.NORM)

    @pytest.mark.parametrize("number", [0.0, np.nan, np.inf])
    def test_no_length_and_no_number_are_refused(self, tmp_path, number):
        delta = np.full_like(self.DELTA, number)
        with pytest.raises(UserError, match="no length"):
            write_head_vector(tmp_path / "x", HeadVector("iti", delta, self.NORM), {})
        assert not (tmp_path / "x").exists()

    def test_another_file_is_refused(self, tmp_path):
        path = tmp_path / "x.safetensors"
        path.write_bytes(b"nothing")
        with pytest.raises(UserError, match="not a readable file"):
            read_head_vector(path)
