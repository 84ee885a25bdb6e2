"""The gate and what is done to the residual stream besides an addition from the last token on."""

import copy
import dataclasses
from collections.abc import Callable
from typing import get_args

import pytest
import torch

from snakesteer.config import Operator, Scope, SteeringConfig
from snakesteer.engine.reference import engine as reference
from snakesteer.engine.reference.read_tokens import ReadTokens
from snakesteer.engine.slots import engine as slots
from snakesteer.engine.slots import rows
from snakesteer.engine.slots.beside import BesideRows
from snakesteer.engine.slots.check import examine
from snakesteer.engine.slots.columns import StepStrengths
from snakesteer.engine.slots.token_rows import TokenRows
from snakesteer.errors import UserError
from snakesteer.steering import operators
from snakesteer.steering.positions import FOREVER, Positions
from tests.engine_faults import (
    break_hook,
    lengthened,
    one_step_late,
    renormalised,
)
from tests.loaded_models import TOKENS, axis_for, direction, loaded_model
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


def windowed(scope: Scope) -> SteeringConfig:
    return steering_config(methods=["caa"], scope=scope, generated_window=(20, 30))


@pytest.mark.parametrize("engine", ["slots", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operators_and_bands_pass(engine: str, dtype: torch.dtype):
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    every = [*get_args(Operator)]
    found = gate(engine, loaded, steering_config(operators=every, band=2))
    names = ["caa", *(f"caa {name}" for name in every[1:]), "dac"]
    assert list(found) == ["no steering", *names]
    assert {found[name]["configuration"].get("operator", "add") for name in names} == {*every}
    assert found["caa clamp"]["places_steered"] == 2 * NEW_TOKENS


@pytest.fixture
def break_hooks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
    """Break the hooks of both engines; the slots engine does not check itself at the start."""
    shape = examine(loaded_model("llama"))
    monkeypatch.setattr(
        slots, "examine", lambda loaded, _: dataclasses.replace(shape, dtype=loaded.dtype)
    )
    right = reference._changer

    def break_them(broken: Callable) -> None:
        break_hook(monkeypatch, broken, at=1)
        monkeypatch.setattr(reference, "_changer", lambda *rows: broken(right(*rows)))

    return break_them


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
@pytest.mark.parametrize("engine", ["slots", "reference"])
@pytest.mark.parametrize("operator", ["ablate", "rotate"])
def test_broken_hooks_of_an_operator(
    break_hooks: Callable, operator: Operator, engine: str, broken: Callable
):
    # A rotation keeps the norm, so that restoring it is no fault; another length is.
    turned = operator == "rotate" and broken is renormalised
    break_hooks(lengthened if turned else broken)
    config = steering_config(methods=["caa"], operators=[operator])
    assert BROKEN[broken] in refused(engine, loaded_model("llama"), config=config)


@pytest.mark.parametrize("engine", ["slots", "reference"])
@pytest.mark.parametrize("wrong", ["the other way", "another plane", "the plane of another layer"])
def test_another_rotation_is_noticed(
    monkeypatch: pytest.MonkeyPatch, break_hooks: Callable, engine: str, wrong: str
):
    def rotated(hidden, vector, alpha, axis):
        match wrong:
            case "the other way":
                return operators.rotate(hidden, vector, -alpha, axis)
            case "another plane":
                return operators.rotate(hidden, vector, alpha, axis + 0.1 * direction(7))
            case _:
                return operators.rotate(hidden, vector, alpha, axis_for("rotate", 3))

    break_hooks(lambda right: right)
    for module in (reference, rows):
        right = module.apply_operator
        monkeypatch.setattr(
            module,
            "apply_operator",
            lambda operator, hidden, vector, alpha, axis, right=right: (
                torch.where(alpha[..., None] != 0, rotated(hidden, vector, alpha, axis), hidden)
                if operator == "rotate"
                else right(operator, hidden, vector, alpha, axis)
            ),
        )
    config = steering_config(methods=["caa"], operators=["rotate"])
    assert "what is added is" in refused(engine, loaded_model("llama"), config=config)


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


def together(*parts: dict) -> SteeringConfig:
    return steering_config(methods=["together"], together=[*parts])


def part(layer: int, operator: Operator = "add", **more) -> dict:
    return {"direction": "caa", "layer": layer, "operator": operator, **more}


TOGETHER = {
    "two layers": together(part(1), part(2, "clamp", weight=-0.5)),
    "one layer": together(part(1, "rotate"), part(1, "norm_preserving", weight=2.0)),
    "two scopes": together(
        part(1, scope="all"),
        part(1, scope="generated_window", generated_window=[20, 30]),
        part(2, "ablate", scope="at_tokens", at_tokens=TOKENS),
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("engine", ["slots", "reference"])
def test_several_vectors_at_once_pass(engine: str, dtype: torch.dtype, name: str):
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    found = gate(engine, loaded, TOGETHER[name])
    operator = TOGETHER[name].together[0].operator
    key = "together" if operator == "add" else f"together {operator}"
    assert list(found) == ["no steering", key]
    assert found[key]["max_error_in_roundings"] <= 1.0
    sites = 1 if name == "one layer" else 2
    assert found[key]["places_steered"] >= sites * (NEW_TOKENS if name != "two scopes" else 1)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
@pytest.mark.parametrize("engine", ["slots", "reference"])
def test_broken_hooks_of_several_vectors(break_hooks: Callable, engine: str, broken: Callable):
    break_hooks(broken)
    # The hook of one block is broken in slots, those of all blocks in the reference, one a vector.
    at_one, at_two = part(1, "clamp"), part(2, scope="generated_only")
    config = together(part(1), at_one if engine == "slots" else at_two)
    assert BROKEN[broken] in refused(engine, loaded_model("llama"), config=config)


def test_the_other_order_is_noticed(monkeypatch: pytest.MonkeyPatch, break_hooks: Callable):
    break_hooks(lambda right: right)
    right = rows.RowSteering.set

    def reversed_set(self, some, scale, beside=()):
        right(self, some, scale, beside)
        self._in_turn.reverse()

    monkeypatch.setattr(rows.RowSteering, "set", reversed_set)
    config = together(part(1), part(1, "clamp"))
    assert "what is added is" in refused("slots", loaded_model("llama"), config=config)
    monkeypatch.setattr(reference, "in_turn", lambda contexts: right_in_turn(contexts[::-1]))
    assert "what is added is" in refused("reference", loaded_model("llama"), config=config)


right_in_turn = reference.in_turn


@pytest.mark.parametrize("wrong", ["missing", "twice", "at the first one's steps"])
def test_a_second_vector_that_goes_wrong_is_noticed(
    monkeypatch: pytest.MonkeyPatch, break_hooks: Callable, wrong: str
):
    break_hooks(lambda right: right)
    right = BesideRows.at

    def at(self, step, token):
        some, scale = right(self, step, token)
        match wrong:
            case "missing":
                return some, 0.0 * scale
            case "twice":
                return some, 2.0 * scale
            case _:
                return some, self.strengths.alpha

    monkeypatch.setattr(BesideRows, "at", at)
    config = together(part(1), part(2, scope="generated_only"))
    refused("slots", loaded_model("llama"), config=config)
