"""The zero-steering gate and what is steered on a condition."""

import dataclasses
from collections.abc import Callable
from typing import get_args

import pytest
import torch

from snakesteer.config import Scope, SettledGate, SteeringConfig
from snakesteer.engine.reference.open_gates import OpenGates
from snakesteer.engine.slots import gate_rows
from snakesteer.engine.slots.gate_rows import GateRows
from snakesteer.engine.slots.prompt_gates import PromptGates
from snakesteer.steering.gates import Gate
from tests.engine_faults import one_step_late
from tests.loaded_models import TOKENS, loaded_model, prompt_ids
from tests.unit.evaluation.checks import test_zero_steering
from tests.unit.evaluation.checks.test_gate_residual import break_hooks as break_hooks
from tests.unit.evaluation.checks.test_zero_steering import (
    BROKEN,
    NEW_TOKENS,
    gate,
    in_bfloat16,
    refused,
    steering_config,
)


def gated(when: str, score: str = "cosine", side: str = "above", **changes) -> SteeringConfig:
    gate = SettledGate(layer=1, score=score, side=side, when=when, threshold=0.0)
    return steering_config(methods=["caa"], **changes).model_copy(update={"gates": [gate]})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("when", ["token", "prompt"])
@pytest.mark.parametrize("engine", ["slots", "reference"])
def test_gates_pass(engine: str, when: str, dtype: torch.dtype):
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    for scope in get_args(Scope):
        window = (20, 30) if "window" in scope else None
        tokens = TOKENS if "tokens" in scope else None
        first_k = 2 if scope == "first_k" else None
        config = gated(
            when, scope=scope, generated_window=window, at_tokens=tokens, first_k=first_k
        )
        found = gate(engine, loaded, config, shared_prefix=prompt_ids()[-1][:3])
        [name] = {*found} - {"no steering"}
        assert name == f"caa gate {when} cosine caa layer 1 above 0.5"
        steered = found[name]["places_steered"]
        assert steered > 0
        if when == "token" and scope in ("from_last_prompt_token", "generated_only", "first_k"):
            whole = {"from_last_prompt_token": NEW_TOKENS, "first_k": 2}
            assert steered < whole.get(scope, NEW_TOKENS - 1)


SHORT = ("generated_only", "generated_window", "outside_generated_window", "not_at_tokens")


@pytest.mark.parametrize("gates", [[], ["token"]], ids=["no gate", "a gate"])
@pytest.mark.parametrize("scope", SHORT)
def test_short_answers(monkeypatch: pytest.MonkeyPatch, scope: Scope, gates: list[str]):
    """One token is never read back, so that nothing would be seen; of two, one is."""
    window = (20, 30) if "window" in scope else None
    changes = {"scope": scope, "generated_window": window}
    changes["at_tokens"] = TOKENS if "tokens" in scope else None
    config = steering_config(methods=["caa"], **changes)
    for when in gates:
        config = gated(when, **changes)
    monkeypatch.setattr(test_zero_steering, "NEW_TOKENS", 2)
    *_, found = gate("slots", loaded_model("llama"), config).values()
    assert found["places_steered"] == 1
    monkeypatch.setattr(test_zero_steering, "NEW_TOKENS", 1)
    said = refused("slots", loaded_model("llama"), config=config)
    assert "The zero-steering gate sees nothing of caa" in said
    assert "Raise checks.new_tokens" in said


def test_every_gate_is_looked_at():
    gates = [gated(when, score).gates[0] for when in ("token", "prompt") for score in SCORES]
    config = steering_config(operators=["add", "ablate"]).model_copy(
        update={"gates": ["none", *gates]}
    )
    found = gate("slots", loaded_model("llama"), config)
    operators = [f"caa{operator}" for operator in ("", " ablate")]
    wanted = {f"{one} gate {each.name}" for one in operators for each in gates}
    assert {*found} == {"no steering", "dac", *operators, *wanted}


SCORES = ("cosine", "projection")


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
@pytest.mark.parametrize("when", ["token", "prompt"])
@pytest.mark.parametrize("engine", ["slots", "reference"])
def test_broken_hooks_behind_a_gate(
    break_hooks: Callable, engine: str, when: str, broken: Callable
):
    break_hooks(broken)
    said = refused(engine, loaded_model("llama"), config=gated(when))
    if when == "prompt" or broken is not one_step_late:
        assert BROKEN[broken] in said
    else:
        assert "position" in said


OTHER_GATES: dict[str, Callable] = {
    "always open": lambda right: torch.ones_like(right),
    "never open": lambda right: torch.zeros_like(right),
    "the other side": lambda right: ~right,
    "that of the next slot": lambda right: right.roll(1, dims=0),
}


@pytest.mark.parametrize("wrong", OTHER_GATES)
@pytest.mark.parametrize("scope", ["from_last_prompt_token", "generated_only", "all"])
def test_another_gate_of_slots_is_noticed(
    monkeypatch: pytest.MonkeyPatch, break_hooks: Callable, scope: Scope, wrong: str
):
    right = GateRows.open.fget
    assert right is not None
    monkeypatch.setattr(GateRows, "open", property(lambda rows: OTHER_GATES[wrong](right(rows))))
    refused("slots", loaded_model("llama"), config=gated("token", scope=scope))


@pytest.mark.parametrize("wrong", SCORES)
def test_another_score_of_slots_is_noticed(
    monkeypatch: pytest.MonkeyPatch, break_hooks: Callable, wrong: str
):
    right = gate_rows.gate_scores
    cosine = torch.tensor(wrong == "cosine")
    monkeypatch.setattr(gate_rows, "gate_scores", lambda h, unit, _: right(h, unit, cosine))
    [other] = {*SCORES} - {wrong}
    refused("slots", loaded_model("llama"), config=gated("token", other))


@pytest.mark.parametrize("layer", [0, 2])
def test_a_gate_that_looks_at_another_layer_is_noticed(
    monkeypatch: pytest.MonkeyPatch, break_hooks: Callable, layer: int
):
    right = GateRows.look
    monkeypatch.setattr(
        GateRows, "look", lambda rows, hidden, at: right(rows, hidden, at + 1 - layer)
    )
    refused("slots", loaded_model("llama"), config=gated("token"))


@pytest.mark.parametrize("engine", ["slots", "reference"])
@pytest.mark.parametrize("wrong", ["always open", "never open", "the other side"])
def test_another_decision_of_a_prompt_is_noticed(
    monkeypatch: pytest.MonkeyPatch, engine: str, wrong: str
):
    right = Gate.opens
    monkeypatch.setattr(Gate, "opens", lambda one, hidden: OTHER_GATES[wrong](right(one, hidden)))
    said = refused(engine, loaded_model("llama"), config=gated("prompt"))
    assert ("behind a gate that is closed" in said) == (wrong != "never open")


def test_a_prompt_that_is_asked_at_another_token_is_noticed(monkeypatch: pytest.MonkeyPatch):
    right = PromptGates.settled
    monkeypatch.setattr(
        PromptGates,
        "settled",
        lambda gates, requests: [
            dataclasses.replace(one, prompt_ids=request.prompt_ids)
            for one, request in zip(
                right(
                    gates,
                    [
                        dataclasses.replace(request, prompt_ids=request.prompt_ids[:1])
                        for request in requests
                    ],
                ),
                requests,
                strict=True,
            )
        ],
    )
    refused("slots", loaded_model("llama"), config=gated("prompt"))


@pytest.mark.parametrize("when", ["token", "prompt"])
def test_the_reference_behind_another_gate_is_noticed(monkeypatch: pytest.MonkeyPatch, when: str):
    monkeypatch.setattr(OpenGates, "through", lambda gates, row, where: where)
    said = refused("reference", loaded_model("llama"), config=gated(when))
    assert "position" in said
