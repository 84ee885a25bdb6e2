"""The gate's own α_t is DAC's, and an engine with another one is refused."""

from collections.abc import Callable

import pytest
import torch

from snakesteer.engine.slots import dac as slots_dac
from snakesteer.engine.slots.dac import DynamicRows
from snakesteer.evaluation.checks.dynamic_truth import dynamic_strengths
from snakesteer.steering import dac as formula
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model
from tests.numpy_dac import numpy_alpha
from tests.unit.evaluation.checks.test_zero_steering import in_bfloat16, refused, steering_config
from tests.unit.evaluation.checks.test_zero_steering import unexamined as unexamined


@pytest.mark.parametrize("kl", ["true_kl", "per_token"])
@pytest.mark.parametrize("ptop", [0.3, 0.9, 1.0])
def test_strengths_are_those_of_a_slow_computation(ptop: float, kl: str):
    generator = torch.Generator().manual_seed(0)
    streams = torch.randn(2, 20, 50, generator=generator) * 2
    dac = Dac(entropy_threshold=2.5, ptop=ptop, max_alpha=1.5, probe_alpha=1.0, kl=kl)
    steering = ResidualSteering(1, direction(), 1.0, dac=dac)
    found = dynamic_strengths(dict(zip(("unsteered", "probe"), streams, strict=True)), steering)
    pairs = zip(*streams.numpy(), strict=True)
    wanted = [numpy_alpha(*pair, ptop, 1.5, 2.5, kl == "per_token")[0] for pair in pairs]
    assert found == pytest.approx(wanted, rel=1e-6)
    assert 0.0 in found
    assert kl == "per_token" or 1.5 in found


def test_strengths_of_odd_logits():
    dac = Dac(entropy_threshold=0.1, ptop=1.0, max_alpha=3.0, probe_alpha=1.0)
    steering = ResidualSteering(1, direction(), 1.0, dac=dac)
    first = torch.tensor([0.0, 1.0, -torch.inf])
    for probe, wanted in ((first, 0.0), (first * torch.nan, 3.0)):
        found = dynamic_strengths({"unsteered": [first], "probe": [probe]}, steering)
        assert found == [wanted]
    assert dynamic_strengths({}, None) == []


def column(name: str, value: float) -> Callable[[pytest.MonkeyPatch], None]:
    """A parameter that does not reach the slots."""

    def fault(patch: pytest.MonkeyPatch) -> None:
        right = DynamicRows.put

        def put(rows, at, *others):
            right(rows, at, *others)
            getattr(rows, name)[at] = value

        patch.setattr(DynamicRows, "put", put)

    return fault


def streams_exchanged(patch: pytest.MonkeyPatch) -> None:
    right = formula.dynamic_alpha
    patch.setattr(slots_dac, "dynamic_alpha", lambda one, other, *more: right(other, one, *more))


WRONG = {
    "threshold": column("threshold", -1.0),
    "top-p mass": column("ptop", 1.0),
    "cap": column("max_alpha", 1e9),
    "probe strength": column("probe_alpha", 0.1),
    "factor": column("strength", 1.0),
    "size of the union": column("per_token", True),
    "streams": streams_exchanged,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wrong", WRONG)
def test_other_strengths_of_slots_are_noticed(
    monkeypatch: pytest.MonkeyPatch, unexamined: None, wrong: str, dtype: torch.dtype
):
    WRONG[wrong](monkeypatch)
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    said = refused("slots", loaded, config=steering_config(methods=["dac"]))
    assert "dac at α = " in said
