"""Attention heads in the search space."""

import numpy as np
import optuna
import pytest
import torch

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.report.wording import configuration
from snakesteer.search.grid import check_sampler, grid_points
from snakesteer.steering.build import steered_layers, steering_of
from snakesteer.steering.candidate import ALL_LAYERS, PARAM_NAMES, Candidate, candidate_from_params
from snakesteer.steering.space import suggest, unsteered_start
from snakesteer.steering.vector import HeadVector
from tests.unit.search.fakes import LAYERS
from tests.unit.search.fakes import VECTORS as RESIDUAL

DELTA = np.random.default_rng(0).normal(size=(3, 4, 32)).astype(np.float32)
AT_TWO = np.where(np.array([0, 1, 0, 1])[:, None], DELTA[:1], np.float32(0))
NORM = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
HEADS = {
    ("dac_heads", ALL_LAYERS): HeadVector("dac_heads", DELTA, NORM),
    ("iti", ALL_LAYERS): HeadVector("iti", AT_TWO, NORM),
}
VECTORS = {**RESIDUAL, **HEADS}
DAC = {"steering_method": "dac_heads", "steering_dose": 0.1, "ptop": 0.5, "max_alpha": 2.0}
ITI = {"steering_method": "iti", "steering_dose": 0.1}


def suggested(params, **changes):
    config = SteeringConfig(**{"methods": ["caa", "dac_heads", "iti"], **changes})
    return suggest(optuna.trial.FixedTrial(params), config, LAYERS, VECTORS)


def test_dac_of_heads():
    candidate = suggested(DAC, dac_probe=2.5, heads_after="hold")
    steering = steering_of(candidate, VECTORS)
    assert steering.layers == (0, 1, 2, 3)
    assert steered_layers(candidate, VECTORS) == 4
    assert torch.equal(steering.delta, torch.from_numpy(DELTA))
    assert (steering.schedule, steering.after) == ("dynamic", "hold")
    assert (
        steering.alpha
        == candidate.alpha
        == pytest.approx(0.1 / HEADS["dac_heads", ALL_LAYERS].dose_at_alpha_1)
    )
    assert (steering.dac.ptop, steering.dac.max_alpha) == (0.5, 2.0)
    assert steering.dac.probe_alpha == pytest.approx(2.5 * candidate.alpha)
    assert steering.dac.entropy_threshold < 0.0  # it has none: α_t holds at any entropy
    assert steering.dac.kl == "true_kl"
    as_authors = steering_of(suggested(DAC, dac_kl="per_token"), VECTORS)
    assert as_authors.dac.kl == "per_token"


def test_dac_as_published_is_alpha_1():
    """The authors' probe is at 2, and what is added is α_t times their vector."""
    params = {**DAC, "steering_alpha": 1.0}
    steering = steering_of(suggested(params, unit="alpha", strength=(-1, 1)), VECTORS)
    assert (steering.alpha, steering.dac.probe_alpha) == (1.0, 2.0)
    turned = suggested({**params, "steering_alpha": -0.5}, unit="alpha", strength=(-1, 1))
    assert (turned.alpha, turned.probe_alpha) == (-0.5, -1.0)


@pytest.mark.parametrize("schedule", ["fixed", "start", "diminishing"])
def test_other_schedules_have_no_parameters_of_the_kl(schedule):
    trial = optuna.create_study().ask()
    config = SteeringConfig(methods=["dac_heads"], heads_schedule=schedule, heads_after="zero")
    candidate = suggest(trial, config, LAYERS, VECTORS)
    assert set(trial.params) == {"steering_method", "steering_dose"}
    steering = steering_of(candidate, VECTORS)
    assert (steering.schedule, steering.after, steering.dac) == (schedule, "zero", None)


def test_iti_steers_its_heads_alike_at_every_step():
    candidate = suggested({**ITI, "steering_dose": -0.05})
    assert steered_layers(candidate, VECTORS) == 2
    steering = steering_of(candidate, VECTORS)
    assert steering.layers == (1, 3)
    assert torch.equal(steering.delta, torch.from_numpy(DELTA[:1, [1, 3]]))
    assert (steering.schedule, steering.after, steering.dac) == ("fixed", "hold", None)
    assert steering.alpha == pytest.approx(-0.05 / HEADS["iti", ALL_LAYERS].dose_at_alpha_1)


def test_a_strength_given_as_alpha():
    params = {"steering_method": "iti", "steering_alpha": 15.0}
    candidate = suggested(params, unit="alpha", strength=(-20, 20))
    assert candidate.alpha == 15.0
    assert candidate.dose == pytest.approx(15.0 * HEADS["iti", ALL_LAYERS].dose_at_alpha_1)


@pytest.mark.parametrize("params", [DAC, ITI])
@pytest.mark.parametrize(
    "changes",
    [{}, {"dac_kl": "per_token", "heads_after": "zero"}, {"scope": "first_k", "first_k": 3}],
)
def test_params_and_back(params, changes):
    candidate = suggested(params, **changes)
    named = candidate.params()
    assert set(named) <= set(PARAM_NAMES)
    assert None not in named.values()
    assert candidate_from_params(named) == candidate
    assert named["layer_id"] == LAYERS[0]  # whose probe results report
    assert named["scope"] == ("dynamic" if params is DAC else "fixed")
    assert candidate.vector_keys == [(params["steering_method"], ALL_LAYERS)]
    assert "at attention heads of all layers" in configuration(named)


@pytest.mark.parametrize("method", ["dac_heads", "iti"])
@pytest.mark.parametrize("unit", ["alpha", "dose"])
def test_no_steering_is_in_the_space_and_is_none(method, unit):
    config = SteeringConfig(methods=[method, "caa"], unit=unit)
    study = optuna.create_study()
    study.enqueue_trial(unsteered_start(config, LAYERS))
    candidate = suggest(study.ask(), config, LAYERS, VECTORS)
    assert (candidate.method, candidate.alpha) == (method, 0.0)
    assert steering_of(candidate, VECTORS) is None


def test_an_incomplete_configuration_is_a_bug():
    broken = Candidate("iti", "iti", 0, 1.0, 0.1, "from_last_prompt_token")
    with pytest.raises(ValueError, match="no configuration of attention heads"):
        steering_of(broken, VECTORS)


def test_the_grid_has_strengths_and_parameters_of_the_kl_alone():
    settings = SearchConfig(sampler="grid", grid_points=3, n_trials=3)
    steering = SteeringConfig(methods=["iti"], directions=["caa", "probe"])
    points = grid_points(settings, steering, LAYERS)
    assert sorted(point["steering_dose"] for point in points) == [-0.3, 0.3]
    assert {tuple(sorted(point)) for point in points} == {("steering_dose", "steering_method")}
    dac = SteeringConfig(methods=["dac_heads"])
    points = grid_points(settings, dac, LAYERS)
    assert len(points) == 2 * 3 * 3
    assert {key for p in points for key in p} == {*DAC}
    for point in points:
        suggest(optuna.trial.FixedTrial(point), dac, LAYERS, VECTORS)


@pytest.mark.parametrize("sampler", ["gp", "qmc", "cmaes"])
def test_directions_and_layers_do_not_matter_to_the_sampler(sampler):
    steering = SteeringConfig(methods=["iti"], directions=["caa", "probe"])
    check_sampler(SearchConfig(sampler=sampler), steering, (0, 2, 3))
