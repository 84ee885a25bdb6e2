"""Gates of a model of known depth."""

import pytest

from snakesteer.config import GateConfig, SettledGate, SteeringConfig, gates_of
from snakesteer.config.gates import settled_gates
from snakesteer.errors import UserError


def steering(*gates):
    return SteeringConfig(gates=[*gates])


def test_there_is_none_by_default():
    assert SteeringConfig().gates == ["none"]
    assert gates_of(SteeringConfig()) == []
    assert settled_gates(SteeringConfig(), [3, 5], None).gates == ["none"]


@pytest.mark.parametrize(("layer", "block"), [(0.5, 4), (0.01, 0), (0.99, 9), (0, 0), (7, 7)])
def test_a_fraction_is_a_block(layer, block):
    """As in steering.layers: round(f · (depth − 1)), halves to the even one."""
    found = settled_gates(steering({"layer": layer}), [9], 10)
    assert [gate.block for gate in gates_of(found)] == [block]
    assert isinstance(found.gates[0].layer, int)


def test_gates_that_meet_are_one():
    found = settled_gates(steering({"layer": 0.5}, "none", {"layer": 4}), [9], 10)
    assert [gate if gate == "none" else gate.block for gate in found.gates] == [4, "none"]
    others = settled_gates(steering({"layer": 4, "when": "prompt"}, {"layer": 4}), [9], 10)
    assert len(others.gates) == 2


def test_a_gate_is_not_behind_what_is_steered():
    assert settled_gates(steering({"layer": 3}), [3, 8], 10).gates
    with pytest.raises(UserError, match=r"at layer 4, behind layer 3.*layer 3 or an earlier one"):
        settled_gates(steering("none", {"layer": 4}), [3, 8], 10)
    with pytest.raises(UserError, match=r"fraction 0.3.*Set model.num_layers"):
        settled_gates(steering({"layer": 0.3}), [3, 8], None)


def test_names_tell_gates_apart():
    keys = [
        {"layer": 2},
        {"layer": 3},
        {"layer": 2, "direction": "pca"},
        {"layer": 2, "score": "projection"},
        {"layer": 2, "side": "below"},
        {"layer": 2, "quantile": 0.25},
        {"layer": 2, "when": "prompt"},
    ]
    gates = [GateConfig(**each) for each in keys]
    assert len({gate.name for gate in gates}) == len({*gates}) == len(gates)
    assert gates[5].name == "token cosine caa layer 2 above 0.25"
    settled = SettledGate(**gates[0].model_dump(), threshold=0.1)
    assert settled.name == gates[0].name
