"""Objectives from problems to vectors, and what their files say."""

from dataclasses import replace

import pytest

from snakesteer.config import GenerationConfig, PromptConfig, TrainingConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.errors import UserError
from snakesteer.evaluation.trained import Task, lessons_of, train_vectors
from snakesteer.steering.positions import DEFAULT_POSITIONS, Positions
from tests.loaded_models import as_loaded
from tests.planted import LAYER, letter_of, resolve_direction, telling_model

PROBLEMS = [Problem(f"p{n}", f"x{letter_of(n)}", f"#### {n}", str(n)) for n in range(2, 10)]
SOLUTIONS = [
    {"id": p.id, "question": p.question, "text": text, "correct": text == p.gold}
    for p in PROBLEMS
    for text in (p.gold, "0")
]
# Nothing stands between a solution and the next question: only the number is learned.
PROMPT = PromptConfig(template="{question}", answer_template="{answer}", shots=0, separator="")


@pytest.fixture(scope="module")
def loaded():
    return as_loaded(telling_model())


def task(loaded, layers=(LAYER,)):
    prompter = Prompter(PROMPT, (), loaded.tokenizer)
    return Task(loaded, prompter, PROBLEMS, SOLUTIONS, layers, DEFAULT_POSITIONS)


def trained(loaded, folder, layers=(LAYER,), **keys):
    config = TrainingConfig(**{"held_out": 0.25, "epochs": 3, **keys})
    sampler = lambda: SlotsEngine(loaded, Decoding(temperature=1.0), slots=16)  # noqa: E731
    generation = GenerationConfig(max_new_tokens=2)
    return train_vectors(
        task(loaded, layers), config, generation, sampler, folder / "checkpoint", {"model": "tiny"}
    )


@pytest.mark.parametrize(
    ("objective", "keys"),
    [
        ("own_correct", {"batch_tokens": 8}),
        ("preference", {"beta": 1.0, "batch_tokens": 8}),
        ("reinforce", {"samples": 8, "problems_per_step": 6, "epochs": 6, "learning_rate": 0.005}),
    ],
)
def test_every_objective_gets_better_along_the_planted_direction(loaded, tmp_path, objective, keys):
    [vector], learner, told = trained(loaded, tmp_path, objective=objective, **keys)
    assert (vector.direction, vector.layer) == ("trained", LAYER)
    assert told["objective"] == objective
    assert (told["problems"], told["held_out_problems"]) == (8, 2)
    assert told["epoch"] == learner.best_epoch > 0
    if objective == "reinforce":
        assert told["held_out"] > told["held_out_before"]
    else:
        assert told["held_out"] < told["held_out_before"]
    assert float(resolve_direction().numpy() @ vector.raw) / vector.norm > 0.9
    assert (tmp_path / "checkpoint").exists()


def test_a_finished_training_is_taken_from_its_checkpoint(loaded, tmp_path):
    [first], _, told = trained(loaded, tmp_path)
    checkpoint = (tmp_path / "checkpoint").read_bytes()
    [again], _, told_again = trained(loaded, tmp_path)
    assert (again.raw == first.raw).all()
    assert told_again == told
    assert (tmp_path / "checkpoint").read_bytes() == checkpoint
    [other], _, _ = trained(loaded, tmp_path, seed=1)
    assert (other.raw != first.raw).any()


def test_layers_together_have_a_vector_each(loaded, tmp_path):
    vectors, _, told = trained(loaded, tmp_path, layers=(0, 2), epochs=1)
    assert [vector.layer for vector in vectors] == told["trained_layers"] == [0, 2]


def test_a_scope_that_reaches_no_text_teaches_nothing(loaded, tmp_path):
    beyond = replace(task(loaded), positions=Positions("generated_window", window=(9, 12)))
    config, generation = TrainingConfig(epochs=1), GenerationConfig(max_new_tokens=2)
    with pytest.raises(UserError, match=r"Texts of which steering.scope steers no token teach no"):
        train_vectors(beyond, config, generation, pytest.fail, tmp_path / "checkpoint", {})


def test_objectives_learn_from_different_texts(loaded):
    counts = {
        objective: len(lessons_of(task(loaded), TrainingConfig(objective=objective)))
        for objective in ("sft", "own_correct", "preference", "reinforce")
    }
    assert counts == {"sft": 8, "own_correct": 8, "preference": 8, "reinforce": 8}
    own = lessons_of(task(loaded), TrainingConfig(objective="own_correct"))
    gold = lessons_of(task(loaded), TrainingConfig())
    assert own[0].examples != gold[0].examples
