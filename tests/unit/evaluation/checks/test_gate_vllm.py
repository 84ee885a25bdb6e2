"""The gate in vLLM: right hooks pass, broken ones do not, and what differs is said."""

from dataclasses import replace

import pytest
import torch

from snakesteer.config import SteeringConfig
from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.engine.select import make_engine, promises_bits
from snakesteer.engine.vllm import worker
from snakesteer.engine.vllm.engine import VllmEngine
from snakesteer.engine.vllm.flat import FlatBatch, FlatStep
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.gate_cases import gate_cases
from snakesteer.evaluation.checks.same_answers import answer_difference, nearly
from snakesteer.evaluation.checks.zero_steering import check_zero_steering
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.vector import Vector
from tests.loaded_models import loaded_model, prompt_ids
from tests.vllm_models import needs_vllm, vllm_loaded, wide_direction

LAYERS = (1, 2)
KINDS = [name for name in OPERATORS if name != "rotate"]  # whose vectors need a plane


def check(scope="from_last_prompt_token"):
    loaded = vllm_loaded("llama")
    config = SteeringConfig(methods=["caa"], directions=["caa"], operators=[*KINDS], scope=scope)
    vectors = {
        ("caa", layer): Vector("caa", layer, wide_direction(layer).numpy(), 10.0)
        for layer in LAYERS
    }
    return check_zero_steering(
        lambda _compiled: make_engine("vllm", loaded, Decoding(), batch_size=4, slots=8),
        loaded,
        {f"problem {n}": Request(ids, 4) for n, ids in enumerate(prompt_ids())},
        gate_cases(config, LAYERS, vectors),
    )


@needs_vllm
@pytest.mark.parametrize("scope", ["from_last_prompt_token", "all"])
def test_right_hooks_pass(scope):
    found = check(scope)
    assert set(found) == {"no steering", "caa", *(f"caa {name}" for name in KINDS[1:])}
    for kind in found.values():
        assert kind["tokens_equal_share"] == 1.0
        assert kind["max_logits_error"] <= kind["tolerance"] == 1e-4
        assert kind["plain_model"]["error"] < 1e-5
    # One of four layers, and the last prompt token and three that are read back, or all 33.
    steered = 4 if scope == "from_last_prompt_token" else 33
    assert found["caa"]["places_steered"] == steered
    assert found["caa"]["places_left_alone"] == 4 * 33 - steered


def one_late(monkeypatch):
    right = worker._Inside.prompt_tokens
    monkeypatch.setattr(worker._Inside, "prompt_tokens", lambda *given: right(*given) + 1)


def does_nothing(monkeypatch):
    monkeypatch.setattr(FlatStep, "steers", lambda _self, _layer: False)


def once_in_each_summand(monkeypatch):
    """As if a pair were two streams."""

    def change(self, layer, hidden, residual):
        right = FlatStep_change(self, layer, hidden, None)[0]
        return right, residual + (right - hidden)

    FlatStep_change = FlatStep.change
    monkeypatch.setattr(FlatStep, "change", change)


def next_layer(monkeypatch):
    right = FlatStep.change
    monkeypatch.setattr(
        FlatStep, "change", lambda self, layer, *given: right(self, layer - 1, *given)
    )
    monkeypatch.setattr(FlatStep, "steers", lambda self, layer: layer - 1 in self.batch.layers)


def at_strength_0_too(monkeypatch):
    """Something is added, whatever the strength."""
    right = FlatBatch._layer

    def layer(self, *given):
        part = right(self, *given)
        return replace(part, strengths=part.strengths + 0.01)

    monkeypatch.setattr(FlatBatch, "_layer", layer)
    monkeypatch.setattr("snakesteer.engine.vllm.flat._strength", lambda *_given: 1.0)


@needs_vllm
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (one_late, "off by one|wrong positions"),
        (does_nothing, "the hook does nothing"),
        (once_in_each_summand, "the factor: what is added is|not α·v"),
        (next_layer, "the wrong layer"),
        (at_strength_0_too, "prompts differ from the model without hooks|not α·v"),
    ],
)
def test_broken_hooks_do_not_pass(fault, said, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(UserError, match=said):
        check()


def test_who_promises_bits():
    loaded = loaded_model("llama")
    assert promises_bits(make_engine("slots", loaded, Decoding(), batch_size=4, slots=4))
    assert promises_bits(make_engine("reference", loaded, Decoding(), batch_size=4))
    assert not promises_bits(VllmEngine(loaded, Decoding()))
    assert promises_bits(VllmEngine(loaded, Decoding(), batch_invariant=True))


def generation(*tokens):
    return Generation(tokens, "", "length", len(tokens))


def test_logits_are_compared_as_long_as_the_text_is_the_same():
    same = [torch.tensor([0.0, 1.0, 2.0, 5.0])] * 3
    nearby = [one + torch.tensor([0.0, 1e-3, 0.0, 0.0]) for one in same]
    other = [*nearby[:2], -same[2]]  # behind a token that differs
    assert answer_difference(generation(1, 2, 3), same, generation(1, 2, 3), same) is None
    found = answer_difference(generation(1, 2, 3), same, generation(1, 3, 3), other)
    assert found is not None
    assert (found.step, found.tokens_equal) == (0, False)
    # √(3/4) of the change, as what all have in common does not count, over the row's own length.
    length = torch.tensor([-2.0, -1.0, 0.0, 3.0]).norm()
    assert found.error == pytest.approx(1e-3 * 0.75**0.5 / float(length), rel=1e-3)
    assert found.size == pytest.approx(10.0, rel=1e-3)
    assert nearly([found], 4, 1e-2) == {
        "tolerance": 1e-2,
        "max_logits_error": found.error,
        "tokens_equal_share": 0.75,
    }
