"""Steered text without the workflow."""

import numpy as np
import pytest
import torch

from snakesteer.engine.interface import Request
from snakesteer.errors import UserError
from snakesteer.evaluation.steered_text import (
    generate,
    load_model,
    model_of,
    steer,
    train_vector,
)
from snakesteer.records.files import write_json
from snakesteer.steering.vector import Vector
from tests.loaded_models import direction, loaded_model, prompt_ids, slow_generate
from tests.tiny_models import HIDDEN, save_tiny_model, tiny_tokenizer

PROMPTS = ["Tom has 3 apples", "12+4="]


@pytest.fixture(scope="module")
def vector():
    return Vector("caa", 1, direction().numpy(), mean_residual_norm=2.0)


def test_a_dose_becomes_a_strength(vector):
    steering = steer(vector, 0.5, scope="all")
    assert (steering.layer, steering.scope) == (1, "all")
    added = float(np.linalg.norm(steering.delta().numpy()))
    assert added == pytest.approx(0.5 * 2.0)
    assert torch.equal(steer(vector, -0.5).delta(), -steering.delta())
    assert steer(vector, 0.0) is None
    with pytest.raises(UserError, match="'at_tokens' needs more than its name"):
        steer(vector, 0.5, scope="at_tokens")
    with pytest.raises(UserError, match="'first_k' needs more than its name"):
        train_vector(loaded_model("llama"), [("x", "y")], 1, scope="first_k")


@pytest.mark.parametrize("dose", [0.0, 3.0])
def test_texts_are_those_of_a_computation_without_cache_and_batch(vector, dose):
    loaded = loaded_model("llama")
    steering = steer(vector, dose)
    texts = generate(loaded, PROMPTS, steering, max_new_tokens=6)
    for prompt, text in zip(PROMPTS, texts, strict=True):
        [ids] = prompt_ids([prompt])
        request = Request(ids, 6, steering)
        factor = 0.0 if steering is None else steering.alpha

        def factors(position, length, factor=factor):
            return factor if position >= length - 1 else 0.0

        expected = slow_generate("llama", loaded.model, request, factors)
        assert text == tiny_tokenizer().decode(expected)


def test_stops_and_seeds():
    loaded = loaded_model("llama")
    [text] = generate(loaded, PROMPTS[:1], max_new_tokens=8)
    assert generate(loaded, PROMPTS[:1], max_new_tokens=8, stop=[text[3]]) == [
        text[: text.index(text[3])]
    ]
    sampled = [generate(loaded, PROMPTS, temperature=1.0, seed=s)[0] for s in (0, 0, 5)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_models_by_name_and_of_a_run(tmp_path):
    folder = str(save_tiny_model(tmp_path / "tiny", "llama"))
    keys = {"dtype": "bfloat16", "device": "cpu"}
    loaded = load_model(folder, **keys)
    assert (loaded.dtype, loaded.device.type) == (torch.bfloat16, "cpu")
    assert loaded.model.config.hidden_size == HIDDEN
    with pytest.raises(UserError, match=r"model\.dtipe"):
        load_model(folder, dtipe="float32")
    record = {"config": {"model": {"name": "embedded", **keys}}}
    record["model"] = {"name": folder, "commit": None}
    write_json(tmp_path / "results" / "provenance.json", record)
    assert model_of(tmp_path / "results").dtype == torch.bfloat16
    with pytest.raises(UserError, match=r"provenance\.json"):
        model_of(tmp_path)


def test_a_trained_vector_says_what_it_learned():
    loaded = loaded_model("llama")
    prompts = [f"{n}+1=" for n in range(8)]
    lessons = [(prompt, "y") for prompt in prompts] * 2
    keys = {"epochs": 80, "learning_rate": 0.05, "held_out": 0.0, "max_dose": 5.0}
    vector = train_vector(loaded, lessons, 1, **keys)
    assert (vector.direction, vector.layer, vector.raw.dtype) == ("trained", 1, np.float32)
    steering = steer(vector, vector.dose(1.0))
    assert steering.alpha == pytest.approx(1.0)
    assert generate(loaded, prompts, max_new_tokens=1) != ["y"] * 8
    assert generate(loaded, prompts, steering, max_new_tokens=1) == ["y"] * 8
    assert np.array_equal(train_vector(loaded, lessons, 1, **keys).raw, vector.raw)
    with pytest.raises(UserError, match="nothing to learn"):
        train_vector(loaded, [("9+1=", "")], 1)
