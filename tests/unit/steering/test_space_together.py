"""Several vectors at once, from the configuration to what an engine needs."""

import json

import optuna
import pytest
import torch

from snakesteer.config import SteeringConfig
from snakesteer.errors import UserError
from snakesteer.search.asking import BESIDE
from snakesteer.steering.build import steered_layers, steering_of
from snakesteer.steering.candidate import PARAM_NAMES, candidate_from_params
from snakesteer.steering.space import check_parts, suggest, trained_starts, unsteered_start
from tests.unit.search.fakes import LAYERS, VECTORS


def part(direction, layer, **more):
    return {"direction": direction, "layer": layer, **more}


PARTS = [
    part("caa", 0, scope="all"),
    part("probe", 3, weight=-0.5, operator="clamp", scope="at_tokens", at_tokens=[4, "x"]),
    part("caa", 3, weight=2.0, operator="ablate"),
]


def together(unit="dose", parts=PARTS, strength=0.2):
    params = {"steering_method": "together", f"steering_{unit}": strength}
    config = SteeringConfig(
        methods=["together"], directions=["caa", "probe"], together=parts, unit=unit
    )
    return suggest(optuna.trial.FixedTrial(params), config, LAYERS, VECTORS)


def test_several_vectors_keep_their_proportions():
    found = together()
    parts = (found, *found.beside)
    assert [one.dose for one in parts] == [0.2, -0.1, 0.4]
    assert [one.alpha for one in parts[:2]] == [
        VECTORS[key].alpha(dose) for key, dose in ((("caa", 0), 0.2), (("probe", 3), -0.1))
    ]
    assert parts[2].alpha == 0.4  # the share that goes
    assert found.vector_keys == [("caa", 0), ("probe", 3), ("caa", 3)]
    assert found.alphas == tuple(one.alpha for one in parts)
    assert found.steered == (0, 3, 3)
    in_alpha = together("alpha")
    assert in_alpha.alphas == pytest.approx((0.2, -0.1, 0.4))
    assert in_alpha.beside[0].dose == VECTORS["probe", 3].dose(-0.1)


def test_several_vectors_are_what_an_engine_needs():
    steering = steering_of(together(), VECTORS)
    first, second, third = steering.parts
    assert (first.layer, first.scope, first.operator) == (0, "all", "add")
    assert (second.layer, second.scope, second.tokens) == (3, "at_tokens", (4, "x"))
    assert (second.operator, third.operator, third.alpha) == ("clamp", "ablate", 0.4)
    for one, key in zip(steering.parts, together().vector_keys, strict=True):
        assert torch.equal(one.vector, torch.from_numpy(VECTORS[key].raw))
    assert steering_of(together(strength=0.0), VECTORS) is None
    assert steered_layers(together(), VECTORS) == 3


def test_several_vectors_survive_their_names():
    found = together()
    params = json.loads(json.dumps(found.params()))
    assert set(params) <= set(PARAM_NAMES)
    assert BESIDE not in PARAM_NAMES  # what trials keep under that name is something else
    assert candidate_from_params(params) == found
    assert [one["steering_direction"] for one in params["further"]] == ["probe", "caa"]


def test_several_vectors_have_an_unsteered_start_and_none_as_trained():
    config = SteeringConfig(methods=["together"], directions=["caa", "probe"], together=PARTS)
    start = unsteered_start(config, LAYERS)
    assert start == {"steering_method": "together", "steering_dose": 0.0}
    assert suggest(optuna.trial.FixedTrial(start), config, LAYERS, VECTORS).alpha == 0.0
    trained = config.model_copy(update={"directions": ["trained"]})
    assert trained_starts(trained, LAYERS, VECTORS) == []


def test_parts_belong_to_layers_that_have_vectors():
    config = SteeringConfig(methods=["together"], directions=["caa", "probe"], together=PARTS)
    check_parts(config, LAYERS)
    check_parts(SteeringConfig(), LAYERS)
    with pytest.raises(UserError, match=r"together\[1\]\.layer is 3, and steering.layers are \[0"):
        check_parts(config, [0, 2])


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (PARTS[:1], "names 1 parts: it is for several vectors"),
        ([part("pca", 0), *PARTS], r"together\[0\]\.direction is 'pca', and steering.directions"),
        ([part("caa", 0, weight=2.0), *PARTS], r"together\[0\]\.weight is 2\.0: weights are"),
        ([*PARTS, part("caa", 0, weight=0.0)], r"together\[3\]\.weight is 0\.0: weights are"),
        ([*PARTS, part("caa", 0, scope="first_k")], r"together\[3\]\.scope is 'first_k' and "),
        ([*PARTS, part("caa", 0, at_tokens="(")], r"together\[3\]\.scope is 'from_last_prompt"),
        ([*PARTS, {"layer": 0}], "direction"),
        (None, "together is made from it"),
    ],
)
def test_parts_that_make_no_sense_are_refused(parts, told):
    with pytest.raises(ValueError, match=told):
        SteeringConfig(methods=["together"], directions=["caa", "probe"], together=parts)


def test_parts_without_their_method_are_refused():
    with pytest.raises(ValueError, match="Set both or neither"):
        SteeringConfig(directions=["caa", "probe"], together=PARTS)
