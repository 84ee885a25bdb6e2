"""Scores and sides of gates, against numpy in float64."""

import dataclasses

import numpy as np
import pytest
import torch

from snakesteer.config import SettledGate, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.records.files import write_json
from snakesteer.steering.gates import Gate
from snakesteer.steering.thresholds import with_thresholds
from tests.loaded_models import direction
from tests.tiny_models import HIDDEN

GATE = Gate(1, direction(), "cosine", 0.0, "above", "token")
STREAM = torch.randn(3, 5, HIDDEN, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1.0, 1e-3, -40.0])
def test_scores(length, dtype):
    h, v = STREAM.to(dtype), length * direction()
    along = h.double().numpy() @ v.double().numpy() / np.linalg.norm(v.double().numpy())
    for score, wanted in (
        ("projection", along),
        ("cosine", along / np.linalg.norm(h.double().numpy(), axis=-1)),
    ):
        found = dataclasses.replace(GATE, vector=v, score=score).scores(h)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_a_gate_is_open_strictly_beyond_its_threshold():
    h = torch.zeros(4, HIDDEN)
    h[:, 0] = torch.tensor([1.0, 2.0, 3.0, torch.nan])
    v = torch.zeros(HIDDEN)
    v[0] = 5.0
    above = Gate(0, v, "projection", 2.0, "above", "token")
    assert above.opens(h).tolist() == [False, False, True, False]
    below = dataclasses.replace(above, side="below")
    assert below.opens(h).tolist() == [True, False, False, False]


def test_what_has_no_length_scores_0():
    assert GATE.scores(torch.zeros(2, HIDDEN)).tolist() == [0.0, 0.0]


def test_keys_are_those_of_equal_gates():
    assert GATE.key == dataclasses.replace(GATE, vector=GATE.vector.clone()).key
    changes = [
        {"layer": 2},
        {"vector": direction(1)},
        {"score": "projection"},
        {"threshold": 0.1},
        {"side": "below"},
        {"when": "prompt"},
    ]
    found = [dataclasses.replace(GATE, **change).key for change in changes]
    assert len({GATE.key, *found}) == len(changes) + 1


def test_thresholds_are_read_by_name(tmp_path):
    config = SteeringConfig(gates=["none", {"layer": 1}, {"layer": 0, "when": "prompt"}])
    names = [gate.name for gate in config.gates[1:]]
    path = tmp_path / "gates.json"
    told = [{"name": name, "threshold": number} for number, name in enumerate(names)]
    write_json(path, {"gates": told[::-1]})
    found = with_thresholds(config, [str(path)])
    assert found.gates[0] == "none"
    assert [gate.threshold for gate in found.gates[1:]] == [0.0, 1.0]
    assert all(isinstance(gate, SettledGate) for gate in found.gates[1:])
    assert with_thresholds(SteeringConfig(), []) == SteeringConfig()
    write_json(path, {"gates": told[:1]})
    with pytest.raises(UserError, match="no threshold for the gate 'prompt cosine caa layer 0"):
        with_thresholds(config, [str(path)])
