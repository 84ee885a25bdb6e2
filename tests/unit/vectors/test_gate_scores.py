"""Thresholds of gates, against quantiles of scores from plain passes over single texts."""

import numpy as np
import pytest
import torch

from snakesteer.config import GateConfig, PromptConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.errors import UserError
from snakesteer.steering.vector import Vector
from snakesteer.vectors.gate_scores import find_thresholds
from tests.loaded_models import direction, loaded_model
from tests.tiny_models import HIDDEN, tiny_tokenizer

PROMPTER = Prompter(PromptConfig(shots=1), (Problem("s", "1+1?", "#### 2", "2"),), tiny_tokenizer())
PROBLEMS = [
    Problem("a", "Tom has 3.", "3 and 4 #### 7", "7"),
    Problem("b", "Ann has 12 hats?", "12 #### 12", "12"),
    Problem("c", "x?", "He has 9. #### 9", "9"),
]
VECTORS = {
    (name, layer): Vector(name, layer, direction(seed + layer).numpy(), 10.0)
    for seed, name in enumerate(("caa", "probe"))
    for layer in (1, 2)
}
GATES = [
    GateConfig(layer=layer, direction=name, score=score, quantile=quantile, when=when)
    for layer, name, score, quantile, when in (
        (1, "caa", "cosine", 0.5, "token"),
        (2, "probe", "projection", 0.9, "prompt"),
        (2, "caa", "cosine", 0.1, "prompt"),
        (2, "probe", "projection", 0.25, "token"),
    )
]


@torch.no_grad()
def plain_scores(gate):
    v = VECTORS[gate.direction, gate.layer].raw.astype(np.float64)
    found = []
    for problem in PROBLEMS:
        prompt = PROMPTER.ids(problem.question)
        text = PROMPTER.ids(problem.question, PROMPTER.response(problem.answer))
        ids = prompt if gate.when == "prompt" else text
        states = loaded_model("llama").model(torch.tensor([ids]), output_hidden_states=True)
        stream = states.hidden_states[gate.layer + 1][0].double().numpy()
        for h in stream[len(prompt) - 1 :]:
            along = h @ v / np.linalg.norm(v)
            found.append(along / np.linalg.norm(h) if gate.score == "cosine" else along)
    return found


def test_thresholds_are_quantiles_of_what_train_texts_score():
    found = find_thresholds(loaded_model("llama"), PROMPTER, PROBLEMS, GATES, VECTORS)
    assert sorted(each["name"] for each in found) == sorted(gate.name for gate in GATES)
    for each in found:
        gate = GateConfig(**{key: each[key] for key in GateConfig.model_fields})
        assert gate.name == each["name"]
        scores = plain_scores(gate)
        assert each["scores"] == len(scores)
        assert each["threshold"] == pytest.approx(np.quantile(scores, gate.quantile), rel=1e-4)
        assert each["lowest"] == pytest.approx(min(scores), rel=1e-4)
        assert each["highest"] == pytest.approx(max(scores), rel=1e-4)
    assert {each["scores"] for each in found if each["when"] == "prompt"} == {len(PROBLEMS)}


def test_scores_without_a_threshold_are_refused():
    alike = {key: Vector(*key, np.full(HIDDEN, np.nan, np.float32), 10.0) for key in VECTORS}
    with pytest.raises(UserError, match=r"'token cosine caa layer 1 above 0.5' cannot be given"):
        find_thresholds(loaded_model("llama"), PROMPTER, PROBLEMS, GATES[:1], alike)
    [one] = PROBLEMS[:1]
    with pytest.raises(UserError, match="its 1 scores on train are all alike"):
        find_thresholds(loaded_model("llama"), PROMPTER, [one], GATES[1:2], VECTORS)
