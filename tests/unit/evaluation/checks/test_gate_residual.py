"""The gate and what is done to the residual stream besides an addition from the last token on."""

import copy
import dataclasses
from collections.abc import Callable
from typing import get_args

import pytest
import torch

from snakesteer.config import Operator, Scope, SettledGate, SteeringConfig
from snakesteer.engine.reference import engine as reference
from snakesteer.engine.reference.open_gates import OpenGates
from snakesteer.engine.reference.read_tokens import ReadTokens
from snakesteer.engine.slots import engine as slots
from snakesteer.engine.slots.check import examine
from snakesteer.engine.slots.columns import StepStrengths
from snakesteer.engine.slots.gate_rows import GateRows
from snakesteer.engine.slots.prompt_gates import PromptGates
from snakesteer.engine.slots.token_rows import TokenRows
from snakesteer.errors import UserError
from snakesteer.steering.gates import Gate
from snakesteer.steering.positions import FOREVER, Positions
from tests.engine_faults import break_hook, one_step_late
from tests.loaded_models import TOKENS, loaded_model, prompt_ids
from tests.unit.evaluation.checks.test_zero_steering import (
    BROKEN,
    NEW_TOKENS,
    gate,
    in_bfloat16,
    refused,
    steering_config,
)

WINDOWS: tuple[Scope, ...] = ("generated_window", "outside_generated_window")


def tokened(scope: Scope = "at_tokens") -> SteeringConfig:
    return steering_config(methods=["caa"], scope=scope, at_tokens=TOKENS)


def gated(when: str, score: str = "cosine", side: str = "above", **changes) -> SteeringConfig:
    gate = SettledGate(layer=1, score=score, side=side, when=when, threshold=0.0)
    return steering_config(methods=["caa"], **changes).model_copy(update={"gates": [gate]})


def windowed(scope: Scope) -> SteeringConfig:
    return steering_config(methods=["caa"], scope=scope, generated_window=(20, 30))


@pytest.mark.parametrize("engine", ["slots", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operators_and_bands_pass(engine: str, dtype: torch.dtype):
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    operators = [*get_args(Operator)]
    found = gate(engine, loaded, steering_config(operators=operators, band=2))
    names = ["caa", "caa clamp", "caa norm_preserving", "caa angular", "caa ablate", "dac"]
    assert list(found) == ["no steering", *names]
    assert {found[name]["configuration"].get("operator", "add") for name in names} == {*operators}
    assert found["caa clamp"]["places_steered"] == 2 * NEW_TOKENS


@pytest.fixture
def break_hooks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
    """Break the hooks of both engines; the slots engine does not check itself at the start."""
    shape = examine(loaded_model("llama"))
    monkeypatch.setattr(
        slots, "examine", lambda loaded: dataclasses.replace(shape, dtype=loaded.dtype)
    )
    right = reference._changer

    def break_them(broken: Callable) -> None:
        break_hook(monkeypatch, broken, at=1)
        monkeypatch.setattr(reference, "_changer", lambda *rows: broken(right(*rows)))

    return break_them


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
@pytest.mark.parametrize("engine", ["slots", "reference"])
def test_broken_hooks_of_an_ablation(break_hooks: Callable, engine: str, broken: Callable):
    break_hooks(broken)
    config = steering_config(methods=["caa"], operators=["ablate"])
    assert BROKEN[broken] in refused(engine, loaded_model("llama"), config=config)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
@pytest.mark.parametrize("engine", ["slots", "reference"])
@pytest.mark.parametrize("scope", WINDOWS)
def test_broken_hooks_of_a_window(
    break_hooks: Callable, engine: str, scope: Scope, broken: Callable
):
    break_hooks(broken)
    # In a text that is steered at every other step, late and early look alike.
    told = "off by one" if broken is one_step_late else BROKEN[broken]
    assert told in refused(engine, loaded_model("llama"), config=windowed(scope))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
@pytest.mark.parametrize("engine", ["slots", "reference"])
def test_broken_hooks_at_tokens(break_hooks: Callable, engine: str, broken: Callable):
    break_hooks(broken)
    told = "off by one" if broken is one_step_late else BROKEN[broken]
    assert told in refused(engine, loaded_model("llama"), config=tokened())


OTHER_TOKENS: dict[str, Callable] = {
    "all": lambda right, rows, token: torch.ones_like(token, dtype=torch.bool),
    "none": lambda right, rows, token: torch.zeros_like(token, dtype=torch.bool),
    "the others": lambda right, rows, token: ~right(rows, token),
    "the next id": lambda right, rows, token: right(rows, (token + 1) % rows.table.shape[1]),
    "those of the next slot": lambda right, rows, token: right(rows, token.roll(1)),
}


@pytest.mark.parametrize("wrong", OTHER_TOKENS)
@pytest.mark.parametrize("scope", ["at_tokens", "not_at_tokens"])
def test_other_tokens_are_noticed(
    monkeypatch: pytest.MonkeyPatch, break_hooks: Callable, scope: Scope, wrong: str
):
    right = TokenRows.at
    monkeypatch.setattr(
        TokenRows, "at", lambda rows, token: OTHER_TOKENS[wrong](right, rows, token)
    )
    refused("slots", loaded_model("llama"), config=tokened(scope))


def test_the_reference_at_other_tokens_is_noticed(monkeypatch: pytest.MonkeyPatch):
    right = ReadTokens.steers
    monkeypatch.setattr(ReadTokens, "steers", lambda self, row: not right(self, row))
    refused("reference", loaded_model("llama"), config=tokened())


def test_a_rule_that_names_no_token_ends_the_run():
    config = steering_config(methods=["caa"], scope="at_tokens", at_tokens="no such text")
    with pytest.raises(UserError, match="no token of the model is among these"):
        gate("slots", loaded_model("llama"), config)


def at(change: Callable) -> Callable:
    """The steps of slots with some of their columns changed while they are looked up."""
    right = StepStrengths.at

    def changed(self: StepStrengths, step: torch.Tensor) -> torch.Tensor:
        other = copy.copy(self)
        change(other)
        return right(other, step)

    return changed


def ends_late(one: StepStrengths) -> None:
    one.end_step, one.again = one.end_step + 1, one.again + 1


def begins_early(one: StepStrengths) -> None:
    one.first_step, one.spared = one.first_step - 1, one.spared - 1


def never_ends(one: StepStrengths) -> None:
    one.end_step = torch.full_like(one.end_step, FOREVER)
    one.again = torch.zeros_like(one.again)


@pytest.mark.parametrize("change", [ends_late, begins_early, never_ends])
@pytest.mark.parametrize("scope", WINDOWS)
def test_a_window_of_other_steps_is_noticed(
    monkeypatch: pytest.MonkeyPatch, break_hooks: Callable, scope: Scope, change: Callable
):
    monkeypatch.setattr(StepStrengths, "at", at(change))
    told = refused("slots", loaded_model("llama"), config=windowed(scope))
    assert "positions" in told


@pytest.mark.parametrize("scope", WINDOWS)
def test_a_wrong_idea_of_a_window_is_noticed(monkeypatch: pytest.MonkeyPatch, scope: Scope):
    """What a scope is, is written down twice: the gate does not ask `Positions`."""
    right = Positions.steers_step
    monkeypatch.setattr(Positions, "steers_step", lambda self, step: right(self, step + 1))
    assert "off by one" in refused("reference", loaded_model("llama"), config=windowed(scope))


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
