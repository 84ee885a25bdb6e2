"""A second task: likelihoods against slow sums, answers as the engine gives them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from snakesteer.config import EvaluationConfig, GenerationConfig, PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.data.second_task import ChoiceProblem
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.errors import UserError
from snakesteer.evaluation.second_task import (
    answered_rows,
    choice_rows,
    compare_outcomes,
    second_task,
)
from snakesteer.steering.residual import ResidualSteering
from tests.chat_templates import QWEN_3
from tests.loaded_models import as_loaded, direction, loaded_model, slow_logits
from tests.planted import LAYER, RESOLVE, planted_model, planted_rows
from tests.tiny_models import HIDDEN, tiny_tokenizer

EVALUATION = EvaluationConfig(bootstrap_resamples=200)
SHOT = Problem("shot", "Ann?", "#### 1", "1")
PROMPTER = Prompter(PromptConfig(shots=1), (SHOT,), tiny_tokenizer())
STEERING = ResidualSteering(1, direction(), 2.0)
QUESTIONS = [
    ChoiceProblem("q-0", "Is ice hot?", ("no", "yes, it is"), 0),
    ChoiceProblem("q-1", "Which is red?", ("the sky", "blood", "in"), 1),
]


def slow_score(prompt, choice, steering, between=" "):
    """The choice's log-likelihood by character, token by token and without batch."""
    model = loaded_model("llama").model
    before = tiny_tokenizer()(prompt)["input_ids"]
    ids = tiny_tokenizer()(f"{prompt}{between}{choice}")["input_ids"]
    total = 0.0
    for end in range(len(before), len(ids)):
        where = torch.tensor([float(at >= len(before) - 1) for at in range(end)])
        added = where[:, None] * steering.vector * steering.alpha
        logits = slow_logits("llama", model, ids[:end], 1, added)
        total += float(logits.double().log_softmax(dim=-1)[ids[end]])
    return total / len(choice)


def test_choices_are_scored_by_likelihood_per_character():
    alone = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
    rows = choice_rows(loaded_model("llama"), alone, QUESTIONS, STEERING)
    for row, asked in zip(rows, QUESTIONS, strict=True):
        for side, way in (("baseline", STEERING.off), ("steered", STEERING)):
            prompt = f"Question: {asked.question}\nAnswer:"
            wanted = [slow_score(prompt, choice, way) for choice in asked.choices]
            assert row[f"{side}_scores"] == pytest.approx(wanted, rel=1e-4)
            assert row[f"{side}_choice"] == int(np.argmax(wanted))
            assert row[f"{side}_correct"] == (row[f"{side}_choice"] == asked.answer)
    json.dumps(rows, allow_nan=False)


def test_a_think_block_is_no_part_of_a_choice():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = QWEN_3
    thinking = Prompter(PromptConfig(shots=0, chat=True), (), tokenizer)
    asked = QUESTIONS[0]
    [row] = choice_rows(loaded_model("llama"), thinking, [asked], STEERING)
    prompt = thinking.text(asked.question) + "<think>\n\n</think>\n\n"
    for side, way in (("baseline", STEERING.off), ("steered", STEERING)):
        wanted = [slow_score(prompt, choice, way, "") for choice in asked.choices]
        assert row[f"{side}_scores"] == pytest.approx(wanted, rel=1e-4)


def test_steering_that_breaks_the_numbers_chooses_nothing():
    broken = ResidualSteering(1, direction() * torch.inf, 1.0)
    rows = choice_rows(loaded_model("llama"), PROMPTER, QUESTIONS, broken)
    assert rows[1]["steered_scores"] == [None, None, None]
    assert [row["steered_choice"] for row in rows] == [None, None]
    assert not any(row["steered_correct"] for row in rows)
    json.dumps(rows, allow_nan=False)


def test_choices_get_no_examples_of_the_other_task(tmp_path: Path):
    path = tmp_path / "facts.jsonl"
    rows = [
        {"question": one.question, "choices": one.choices, "answer": one.answer}
        for one in QUESTIONS
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def no_engine():
        raise AssertionError

    record, told = second_task(
        path,
        loaded_model("llama"),
        no_engine,
        PROMPTER,
        STEERING,
        GenerationConfig(),
        EVALUATION,
        ["Is ice cold?"],
    )
    alone = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
    wanted = choice_rows(loaded_model("llama"), alone, QUESTIONS, STEERING)
    assert [row["steered_scores"] for row in told] == [row["steered_scores"] for row in wanted]
    assert (record["n"], record["scored_by"]) == (2, "likelihood of the choices")
    assert {row["what"] for row in told} == {"second task"}
    assert told[0]["id"] == "facts-00000"


CHOICES = {"choices": ["no", "yes"], "answer": 0}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"question": "Tom has\n3 pens. ", "answer": 3},
            "asks a problem of the run's own test split",
        ),
        ({"question": "Tom has 3 pens.", **CHOICES}, "asks a problem of the run's own test split"),
        (
            {"question": "Tom has 3 pens." * 20, "answer": 3},
            "needs 3.. tokens, the answer included",
        ),
        ({"question": "Is ice hot?" * 30, **CHOICES}, "needs 3.. tokens, the answer included"),
    ],
)
def test_what_cannot_be_asked_is_named(tmp_path: Path, row, told):
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps({**row, "question": "Hm?"}) + "\n" + json.dumps(row), "utf-8")
    how = (PROMPTER, STEERING, GenerationConfig(max_new_tokens=6), EVALUATION)
    loaded = loaded_model("llama")
    with pytest.raises(UserError, match=told) as caught:
        second_task(path, loaded, pytest.fail, *how, ["Tom has 3 pens."])
    assert "facts-00001" in str(caught.value)
    assert "out of the file" in str(caught.value)


def test_problems_are_answered_and_graded_as_usual(tmp_path: Path):
    """The planted vector helps on the second task, too: that is seen, with its test."""
    loaded = as_loaded(planted_model("helps"))
    prompt = PromptConfig(template="{question}", answer_template="{answer}", shots=0)
    vector = torch.zeros(256)
    vector[RESOLVE] = 1.0
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, planted_rows()[:24])), encoding="utf-8")
    record, rows = second_task(
        path,
        loaded,
        lambda: ReferenceEngine(loaded, Decoding(), 24),
        Prompter(prompt, (), tiny_tokenizer()),
        ResidualSteering(LAYER, vector, 0.2),
        GenerationConfig(max_new_tokens=3),
        EVALUATION,
        [],
    )
    assert record["scored_by"] == "generated answers"
    assert record["steered_accuracy"] == 1.0
    assert record["baseline_accuracy"] == np.mean([row["baseline_correct"] for row in rows]) < 0.5
    assert record["mcnemar"]["gained"] == 24 - sum(row["baseline_correct"] for row in rows)
    assert record["difference_ci"][0] > 0.0
    assert record["verdict"] == "helps"
    assert all(row["steered_extracted"] == row["gold"] for row in rows)


def test_unsteered_and_steered_share_their_random_numbers():
    loaded = loaded_model("llama")
    engine = ReferenceEngine(loaded, Decoding(temperature=1.0), 4)
    generation = GenerationConfig(max_new_tokens=5, do_sample=True, temperature=1.0)
    nothing = ResidualSteering(1, torch.zeros(HIDDEN), 1.0)
    [row] = answered_rows(engine, PROMPTER, [SHOT], nothing, generation)
    assert row["baseline_text"] == row["steered_text"]


def test_outcomes_are_compared_in_pairs():
    before, after = [True] * 10 + [False] * 10, [True] * 4 + [False] * 6 + [False] * 9 + [True]
    record = compare_outcomes(before, after, EVALUATION)
    assert (record["n"], record["baseline_accuracy"], record["steered_accuracy"]) == (20, 0.5, 0.25)
    assert record["difference"] == -0.25
    assert (record["mcnemar"]["gained"], record["mcnemar"]["lost"]) == (1, 6)
    assert record["mcnemar"]["p_value"] == pytest.approx(0.125)
    assert record["verdict"] == "inconclusive"
    low, high = record["difference_ci"]
    assert low < -0.25 < high
