"""What a method's module says of itself agrees with what it suggests."""

import dataclasses

import numpy as np
import optuna
import pytest

from snakesteer.config import SteeringConfig
from snakesteer.config.catalogue import METHODS
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import ALL_LAYERS, candidate_from_params
from snakesteer.steering.methods import method
from snakesteer.steering.methods.base import strength_name
from snakesteer.steering.space import suggest
from snakesteer.steering.vector import HeadVector, Vector
from tests.tiny_models import HIDDEN
from tests.unit.search.fakes import LAYERS, VECTORS

HEADS = np.ones((2, 4, HIDDEN), np.float32)
PROMPT = np.ones((3, HIDDEN), np.float32)


def vectors_of(name):
    if METHODS[name].kind == "heads":
        return {(name, ALL_LAYERS): HeadVector(name, HEADS, np.ones(4, np.float32))}
    if METHODS[name].kind == "prompt_start":
        return {(name, layer): Vector(name, layer, PROMPT, 10.0) for layer in LAYERS}
    return VECTORS


def config_of(name, **changes):
    prompts = ("Think.", "Guess.") if "steering.actadd_prompts" in METHODS[name].needs else None
    directions = ["caa", "probe"]
    if "steering.together" in METHODS[name].needs:
        changes["together"] = [{"direction": one, "layer": 2} for one in directions]
    return SteeringConfig(methods=[name], actadd_prompts=prompts, directions=directions, **changes)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("several", [False, True])
def test_choices_and_spans_are_what_is_suggested(name, several):
    own = {"operators": ["add", "clamp"]} if several and name == "caa" else {}
    config = config_of(name, **own)
    trial = optuna.create_study().ask()
    candidate = suggest(trial, config, LAYERS, vectors_of(name))
    choices, spans = method(name).choices(config, LAYERS), method(name).spans(config)
    assert set(trial.params) == {
        "steering_method",
        strength_name(config),
        *choices,
        *spans,
    }
    for parameter, values in choices.items():
        assert trial.params[parameter] in values
    for parameter, (low, high) in spans.items():
        distribution = trial.distributions[parameter]
        assert (distribution.low, distribution.high) == (low, high)
    assert candidate.method == name
    assert candidate.dynamic == method(name).dynamic(config)
    assert candidate_from_params(candidate.params()) == candidate
    steering = steering_of(candidate, vectors_of(name))
    assert steering.kind == METHODS[name].kind
    assert (steering.dac is not None) == candidate.dynamic
    assert steering.off.alpha == 0.0


def test_the_strength_of_dac_at_heads_is_dynamic_as_its_schedule_is():
    assert method("dac_heads").dynamic(config_of("dac_heads"))
    fixed = config_of("dac_heads", heads_schedule="fixed")
    assert not method("dac_heads").dynamic(fixed)
    assert method("dac_heads").spans(fixed) == {}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schedule": "start"}, "no schedule 'start'"),
        ({"schedule": "dynamic", "scope": "all"}, "a scope of its own"),
    ],
)
def test_what_its_kind_does_not_do_is_a_bug_of_the_method(changes, told):
    params = {"steering_method": "caa", "steering_direction": "caa", "layer_id": 2}
    trial = optuna.trial.FixedTrial({**params, "steering_dose": 0.1})
    candidate = suggest(trial, config_of("caa"), LAYERS, VECTORS)
    with pytest.raises(ValueError, match=told):
        steering_of(dataclasses.replace(candidate, **changes), VECTORS)
