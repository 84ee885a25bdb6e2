"""What the gate looks at."""

from snakesteer.config import SteeringConfig
from snakesteer.evaluation.checks.gate_cases import gate_cases
from snakesteer.steering.vector import Vector
from tests.loaded_models import direction

LAYERS = (1, 2)


def test_kinds_take_turns_at_directions_and_layers():
    config = SteeringConfig(directions=["caa", "probe"], methods=["caa", "dac"])
    found = {
        (name, layer): Vector(name, layer, direction(layer).numpy(), 10.0)
        for name in ("caa", "probe")
        for layer in LAYERS
    }
    first, second = gate_cases(config, LAYERS, found)
    assert (first.candidate.direction, first.candidate.layer) == ("caa", 1)
    assert (second.candidate.direction, second.candidate.layer) == ("probe", 2)
    assert first.candidate.dose == 0.3
    assert first.steering.off.alpha == 0.0
    assert second.steering.dac.entropy_threshold < 0.0
    assert second.candidate.entropy_threshold is not None
