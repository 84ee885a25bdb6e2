"""The gate and what is done to the residual stream besides an addition from the last token on."""

import dataclasses
from collections.abc import Callable
from typing import get_args

import pytest
import torch

from snakesteer.config import Operator
from snakesteer.engine.reference import engine as reference
from snakesteer.engine.slots import engine as slots
from snakesteer.engine.slots.check import examine
from tests.engine_faults import break_hook
from tests.loaded_models import loaded_model
from tests.unit.evaluation.checks.test_zero_steering import (
    BROKEN,
    NEW_TOKENS,
    gate,
    in_bfloat16,
    refused,
    steering_config,
)


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
