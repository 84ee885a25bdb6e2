"""Off target: numbers against plain numpy, and a planted vector that breaks other text."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from snakesteer.config import EvaluationConfig, GenerationConfig, PromptConfig
from snakesteer.data.neutral import read_passages
from snakesteer.data.prompts import Prompter
from snakesteer.data.rows import problem_from_row
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.reference.forced import GivenText
from snakesteer.evaluation.answers import Answer, accuracy, answer_all
from snakesteer.evaluation.off_target import (
    answers_record,
    cost_rows,
    interval_record,
    neutral_record,
    text_costs,
)
from snakesteer.evaluation.token_kl import (
    START_TOKENS,
    TEXT_TOKENS,
    divergences,
    neutral_texts,
)
from snakesteer.records.code_files import PACKAGE
from snakesteer.steering.gates import Gate
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import as_loaded, direction, loaded_model, slow_logits
from tests.planted import LAYER, RESOLVE, planted_model, planted_rows, token
from tests.tiny_models import HIDDEN, tiny_tokenizer

EVALUATION = EvaluationConfig(bootstrap_resamples=200)
PASSAGES = read_passages(PACKAGE / "data" / "assets" / "neutral.txt")
PROMPTER = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
STEERING = ResidualSteering(1, direction(), 2.0)


def softmax(logits):
    weights = np.exp(logits.double().numpy() - float(logits.max()))
    return weights / weights.sum()


def test_the_passages_are_short_plain_and_many():
    assert len(PASSAGES) == len(set(PASSAGES)) == 40
    assert all(30 < len(passage.split()) <= 100 for passage in PASSAGES)
    assert all(passage.isascii() and "\n" not in passage for passage in PASSAGES)
    assert not any(character.isdigit() for passage in PASSAGES for character in passage)


def test_costs_equal_a_dense_computation():
    [text] = neutral_texts(PROMPTER, PASSAGES[:1], context=20)
    assert (len(text.token_ids), text.prompt_tokens) == (20, START_TOKENS)
    [cost] = text_costs(loaded_model("llama"), [text], STEERING)
    kl, before, after, changed = [], [], [], []
    for position in range(START_TOKENS, 20):
        ids = text.token_ids[:position]
        factor = torch.tensor([2.0 * (at >= START_TOKENS - 1) for at in range(position)])
        model = loaded_model("llama").model
        p, q = (
            softmax(slow_logits("llama", model, ids, 1, added))
            for added in (torch.zeros(position, HIDDEN), factor[:, None] * direction())
        )
        kl.append(float((p * np.log(p / q)).sum()))
        before.append(-math.log(p[text.token_ids[position]]))
        after.append(-math.log(q[text.token_ids[position]]))
        changed.append(p.argmax() != q.argmax())
    assert cost.tokens == len(kl) == 12
    assert cost.kl == pytest.approx(np.mean(kl), rel=1e-4)
    assert cost.kl > 0.01
    assert cost.baseline_nll == pytest.approx(np.mean(before), rel=1e-5)
    assert cost.steered_nll == pytest.approx(np.mean(after), rel=1e-5)
    assert cost.changed == np.mean(changed)
    assert cost.alpha_t is None


@torch.no_grad()
@pytest.mark.parametrize("when", ["token", "prompt"])
def test_the_share_that_a_gate_lets_through(when):
    texts = neutral_texts(PROMPTER, PASSAGES[:6], context=20)
    gate = Gate(0, direction(5), "projection", 0.0, "above", when)
    loaded = loaded_model("llama")
    costs = text_costs(loaded, texts, replace(STEERING, gate=gate))
    for text, cost in zip(texts, costs, strict=True):
        ids = torch.tensor([text.token_ids[:-1]])
        hidden = loaded.model(ids, output_hidden_states=True).hidden_states[1][0]
        opened = hidden[START_TOKENS - 1 :] @ direction(5) > 0.0
        wanted = opened if when == "token" else opened[:1]
        assert cost.steered_share == pytest.approx(float(wanted.double().mean()))
    shares = [cost.steered_share for cost in costs]
    assert 0.0 < np.mean(shares) < 1.0
    record = neutral_record(costs, EVALUATION)
    assert record["steered_share"]["estimate"] == pytest.approx(np.mean(shares))
    assert cost_rows(costs)[2]["steered_share"] == shares[2]


def test_strength_0_costs_exactly_nothing():
    texts = neutral_texts(PROMPTER, PASSAGES[:5], context=None)
    assert {len(text.token_ids) for text in texts} == {TEXT_TOKENS}
    record = neutral_record(text_costs(loaded_model("llama"), texts, STEERING.off), EVALUATION)
    assert record["kl"] == {"estimate": 0.0, "ci": [0.0, 0.0]}
    assert record["perplexity_ratio"] == {"estimate": 1.0, "ci": [1.0, 1.0]}
    assert record["changed_tokens"] == {"estimate": 0.0, "ci": [0.0, 0.0]}
    assert record["tokens"] == 5 * (TEXT_TOKENS - START_TOKENS)


def test_a_divergence_where_a_token_is_ruled_out():
    p, q = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log()
    assert float(divergences(p, q)) == pytest.approx(0.5 * math.log(2))
    assert float(divergences(q, p)) == math.inf


def test_means_are_over_texts_with_their_interval():
    texts = neutral_texts(PROMPTER, PASSAGES[:8], context=30)
    costs = text_costs(loaded_model("llama"), texts, STEERING)
    record = neutral_record(costs, EVALUATION)
    low, high = record["kl"]["ci"]
    assert low < record["kl"]["estimate"] < high
    assert record["kl"]["estimate"] == pytest.approx(np.mean([one.kl for one in costs]))
    ratio = record["steered_perplexity"] / record["baseline_perplexity"]
    assert record["perplexity_ratio"]["estimate"] == pytest.approx(ratio)
    assert "mean_alpha_t" not in record
    assert "steered_share" not in record
    rows = cost_rows(costs)
    assert [row["text"] for row in rows] == [*range(8)]
    assert rows[3]["kl"] == costs[3].kl


def test_numbers_that_are_not_finite_are_told_as_such():
    huge = ResidualSteering(1, direction() * torch.inf, 1.0)
    texts = neutral_texts(PROMPTER, PASSAGES[:2], context=20)
    costs = text_costs(loaded_model("llama"), texts, huge)
    record = neutral_record(costs, EVALUATION)
    assert record["kl"] == record["perplexity_ratio"] == {"estimate": None, "ci": None}
    assert record["steered_perplexity"] is None
    assert record["baseline_perplexity"] > 1.0
    assert cost_rows(costs)[0]["kl"] is None
    beyond = interval_record([1.0, 2.0], EVALUATION, lambda mean: math.inf)
    assert beyond == {"estimate": None, "ci": None}


@torch.no_grad()
def planted_with_a_flaw():
    """The model in which resolve helps, but which says ``~`` where it is all there is."""
    model = planted_model("helps")
    model.lm_head.weight[token("~"), RESOLVE] = 1.0
    return as_loaded(model)


def axis(number):
    vector = torch.zeros(256)
    vector[number] = 1.0
    return vector


def test_a_planted_vector_that_helps_and_breaks_other_text_is_shown_as_such():
    loaded = planted_with_a_flaw()
    prompt = PromptConfig(template="{question}", answer_template="{answer}", shots=0)
    prompter = Prompter(prompt, (), tiny_tokenizer())
    rows = planted_rows()[:24]
    problems = [problem_from_row(row, f"planted-{n}") for n, row in enumerate(rows)]
    texts = neutral_texts(prompter, PASSAGES, context=None)
    helpful, idle = (ResidualSteering(LAYER, axis(at), 0.2) for at in (RESOLVE, 200))
    engine = ReferenceEngine(loaded, Decoding(), 24)
    before, after, same = answer_all(
        engine, prompter, problems, [None, helpful, idle], GenerationConfig(max_new_tokens=3)
    )
    assert accuracy(before) == accuracy(same) < 0.5 < accuracy(after) == 1.0
    broken, harmless = (
        neutral_record(text_costs(loaded, texts, one), EVALUATION) for one in (helpful, idle)
    )
    assert broken["kl"]["ci"][0] > 1.0  # nats a token
    assert broken["perplexity_ratio"]["ci"][0] > 10.0
    assert broken["changed_tokens"]["estimate"] > 0.5
    assert harmless["kl"]["ci"][1] < 0.05
    assert harmless["perplexity_ratio"]["ci"][1] < 1.1


def answer(number, correct, text, tokens):
    return Answer(str(number), correct, correct, correct, "1", text, "eos", 5, tokens)


def test_what_else_changes_in_the_test_answers():
    before = [answer(0, True, "a", 4), answer(1, True, "b", 4), answer(2, False, "c", 4)]
    after = [answer(0, True, "a", 4), answer(1, False, "x", 6), answer(2, True, "y", 5)]
    record = answers_record([before], [after], EVALUATION)
    assert record["length_change"]["estimate"] == pytest.approx(1.0)
    assert record["baseline_mean_new_tokens"] == 4.0
    assert record["steered_mean_new_tokens"] == 5.0
    assert record["right_before"] == 2
    assert record["reworded"]["estimate"] == record["lost"]["estimate"] == 0.5
    nothing = answers_record([before[2:]], [after[2:]], EVALUATION)
    assert (nothing["right_before"], nothing["lost"]) == (0, None)
    # With several answers each, a problem counts once.
    twice = answers_record([before, before], [before, after], EVALUATION)
    assert twice["length_change"]["estimate"] == pytest.approx(0.5)
    assert twice["lost"]["estimate"] == 0.25


def test_a_short_text_still_has_a_token_to_look_at():
    [text] = neutral_texts(PROMPTER, ["A hut"], context=None)
    assert isinstance(text, GivenText)
    assert len(text.generated) == 1
