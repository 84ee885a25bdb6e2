"""A candidate and what it stands for."""

import optuna
import pytest
import torch

from snakesteer.config import SteeringConfig
from snakesteer.search.space import (
    PARAM_NAMES,
    Candidate,
    candidate_from_params,
    suggest,
    unsteered_start,
)
from snakesteer.steering import Dac
from tests.unit.search.fakes import LAYERS, VECTORS

CAA = {
    "steering_method": "caa",
    "steering_direction": "probe",
    "layer_id": 2,
    "steering_dose": 0.3,
}
DAC = {
    **CAA,
    "steering_method": "dac",
    "entropy_threshold": 1.0,
    "ptop": 0.5,
    "max_alpha": 2.0,
}


def suggested(params, layers=LAYERS, **changes):
    config = SteeringConfig(
        **{"methods": ["caa", "dac"], "directions": ["caa", "probe"], **changes}
    )
    return suggest(optuna.trial.FixedTrial(params), config, layers, VECTORS)


def test_dose_and_alpha_are_the_same_strength():
    vector = VECTORS["probe", 2]
    by_dose = suggested(CAA)
    assert by_dose.dose == 0.3
    assert by_dose.alpha == pytest.approx(0.3 * vector.mean_residual_norm / vector.norm)
    params = {key: value for key, value in CAA.items() if key != "steering_dose"}
    by_alpha = suggested({**params, "steering_alpha": 0.3}, unit="alpha")
    assert by_alpha.alpha == 0.3
    assert by_alpha.dose == pytest.approx(0.3 * vector.norm / vector.mean_residual_norm)


def test_steering_of_caa():
    steering = suggested(CAA, scope="first_k", first_k=4).steering(VECTORS)
    assert (steering.layer, steering.scope, steering.first_k, steering.dac) == (
        2,
        "first_k",
        4,
        None,
    )
    torch.testing.assert_close(steering.vector, torch.from_numpy(VECTORS["probe", 2].raw))
    added = torch.linalg.vector_norm(steering.delta())
    assert float(added) == pytest.approx(0.3 * VECTORS["probe", 2].mean_residual_norm, rel=1e-6)


def test_steering_of_dac():
    steering = suggested(DAC, scope="first_k", first_k=4, dac_probe_alpha=1.5).steering(VECTORS)
    assert steering.dac == Dac(entropy_threshold=1.0, ptop=0.5, max_alpha=2.0, probe_alpha=1.5)
    assert (steering.scope, steering.first_k) == ("from_last_prompt_token", None)


@pytest.mark.parametrize("params", [CAA, DAC])
@pytest.mark.parametrize("scope", [{}, {"scope": "first_k", "first_k": 4}])
def test_params_and_back(params, scope):
    candidate = suggested(params, **scope)
    named = candidate.params()
    assert set(named) <= set(PARAM_NAMES)
    assert None not in named.values()
    assert candidate_from_params(named) == candidate
    if params is CAA:
        assert not {"entropy_threshold", "ptop", "max_alpha", "probe_alpha"} & set(named)


@pytest.mark.parametrize("params", [CAA, DAC])
def test_alpha_0_is_no_steering(params):
    candidate = suggested({**params, "steering_dose": 0.0})
    assert candidate.alpha == candidate.dose == 0.0
    assert candidate.steering(VECTORS) is None


@pytest.mark.parametrize("unit", ["alpha", "dose"])
@pytest.mark.parametrize("methods", [["caa", "dac"], ["dac"]])
def test_the_unsteered_start_lies_in_the_space(unit, methods):
    config = SteeringConfig(methods=methods, unit=unit)
    study = optuna.create_study()
    study.enqueue_trial(unsteered_start(config, LAYERS))
    assert suggest(study.ask(), config, LAYERS, VECTORS).alpha == 0.0


def test_evenly_spaced_layers_keep_their_order_for_the_sampler():
    config = SteeringConfig()
    vectors = {("caa", layer): VECTORS["caa", 2] for layer in range(10)}
    kinds = {}
    for layers in ((2, 4, 6), (2, 4, 7), (5,)):
        trial = optuna.create_study().ask()
        assert suggest(trial, config, layers, vectors).layer in layers
        kinds[layers] = trial.distributions["layer_id"]
    assert kinds[2, 4, 6] == optuna.distributions.IntDistribution(2, 6, step=2)
    assert kinds[2, 4, 7] == optuna.distributions.CategoricalDistribution((2, 4, 7))
    assert kinds[5,] == optuna.distributions.CategoricalDistribution((5,))


def test_a_dac_candidate_that_lacks_a_parameter_is_a_bug():
    broken = Candidate("dac", "caa", 2, 1.0, 0.1, "from_last_prompt_token", ptop=0.5)
    with pytest.raises(ValueError, match="lacks a parameter"):
        broken.steering(VECTORS)
