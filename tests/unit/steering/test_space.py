"""A candidate and what it stands for."""

import dataclasses
import json

import numpy as np
import optuna
import pytest
import torch

from snakesteer.config import SettledGate, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import PARAM_NAMES, Candidate, candidate_from_params
from snakesteer.steering.dac import Dac
from snakesteer.steering.positions import Positions
from snakesteer.steering.space import suggest, trained_starts, unsteered_start
from snakesteer.steering.vector import Vector
from tests.tiny_models import HIDDEN
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


ACROSS = np.linspace(-1.0, 1.0, HIDDEN, dtype=np.float32)


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
    steering = steering_of(suggested(CAA, scope="first_k", first_k=4), VECTORS)
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
    steering = steering_of(suggested(DAC, scope="first_k", first_k=4, dac_probe=1.5), VECTORS)
    probe_alpha = 1.5 * VECTORS["probe", 2].alpha(0.3)
    assert steering.dac == Dac(1.0, ptop=0.5, max_alpha=2.0, probe_alpha=pytest.approx(probe_alpha))
    assert (steering.scope, steering.first_k) == ("from_last_prompt_token", None)


@pytest.mark.parametrize("scale", [0.01, 100.0, -1.0, -0.01])
def test_the_probe_adds_the_same_whatever_the_vectors_length_and_sign(scale):
    """α·v decides what DAC does: a longer or turned vector at the same dose is the same trial."""
    vector = VECTORS["probe", 2]
    scaled = {("probe", 2): dataclasses.replace(vector, raw=vector.raw * np.float32(scale))}
    steering = steering_of(suggested(DAC), VECTORS)
    dose = np.copysign(0.3, scale)
    config = SteeringConfig(methods=["dac"], directions=["probe"])
    trial = optuna.trial.FixedTrial({**DAC, "steering_dose": dose})
    other = steering_of(suggest(trial, config, LAYERS, scaled), scaled)
    for one in (steering, other):
        probe = one.dac.probe_alpha * one.vector
        torch.testing.assert_close(probe, 2.0 * one.delta())
    torch.testing.assert_close(other.delta(), steering.delta())


@pytest.mark.parametrize("params", [CAA, DAC])
@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"scope": "first_k", "first_k": 4},
        {"scope": "generated_window", "generated_window": (2, 6)},
        {"scope": "outside_generated_window", "generated_window": (2, 6)},
        {"scope": "at_tokens", "at_tokens": (7, " the")},
        {"scope": "not_at_tokens", "at_tokens": r"\n\n$"},
    ],
)
def test_params_and_back(params, scope):
    candidate = suggested(params, **scope)
    named = candidate.params()
    assert set(named) <= set(PARAM_NAMES)
    assert None not in named.values()
    assert candidate_from_params(json.loads(json.dumps(named))) == candidate
    if params is CAA:
        steering = steering_of(candidate, VECTORS)
        assert steering.positions == Positions(
            candidate.scope,
            scope.get("first_k"),
            scope.get("generated_window"),
            scope.get("at_tokens"),
        )
        assert not {"entropy_threshold", "ptop", "max_alpha", "probe_alpha"} & set(named)


GATES = [
    SettledGate(layer=0, direction="probe", threshold=0.25, when="prompt"),
    SettledGate(layer=2, score="projection", threshold=-3.0, side="below", quantile=0.2),
]


def gated(params, *gates):
    config = SteeringConfig(methods=["caa", "dac"], directions=["caa", "probe"])
    config = config.model_copy(update={"gates": [*gates]})
    return suggest(optuna.trial.FixedTrial(params), config, LAYERS, VECTORS)


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.when)
def test_a_gate_is_a_choice_of_caa_alone(gate):
    several = ("none", *GATES)
    chosen = gated({**CAA, "gate": gate.name}, *several)
    assert chosen == gated(CAA, gate)  # the only one is no choice
    assert chosen.gate == gate
    assert gated({**CAA, "gate": "none"}, *several) == suggested(CAA)
    assert gated(DAC, *several) == suggested(DAC)
    named = chosen.params()
    assert candidate_from_params(json.loads(json.dumps(named))) == chosen
    assert "gate" not in suggested(CAA).params()
    steering = steering_of(chosen, VECTORS)
    assert (steering.gate.layer, steering.gate.threshold) == (gate.layer, gate.threshold)
    assert (steering.gate.score, steering.gate.side) == (gate.score, gate.side)
    torch.testing.assert_close(
        steering.gate.vector, torch.from_numpy(VECTORS[gate.direction, gate.block].raw)
    )


def test_gates_are_part_of_the_space():
    config = SteeringConfig(methods=["caa"]).model_copy(update={"gates": ["none", *GATES]})
    assert unsteered_start(config, LAYERS)["gate"] == "none"
    study = optuna.create_study()
    study.enqueue_trial(unsteered_start(config, LAYERS))
    assert suggest(study.ask(), config, LAYERS, VECTORS).gate is None
    assert "gate" not in unsteered_start(SteeringConfig(methods=["caa"]), LAYERS)


@pytest.mark.parametrize("params", [CAA, DAC])
def test_alpha_0_is_no_steering(params):
    candidate = suggested({**params, "steering_dose": 0.0})
    assert candidate.alpha == candidate.dose == 0.0
    assert steering_of(candidate, VECTORS) is None


@pytest.mark.parametrize("unit", ["alpha", "dose"])
@pytest.mark.parametrize("methods", [["caa", "dac"], ["dac"]])
def test_the_unsteered_start_lies_in_the_space(unit, methods):
    config = SteeringConfig(methods=methods, unit=unit)
    study = optuna.create_study()
    study.enqueue_trial(unsteered_start(config, LAYERS))
    assert suggest(study.ask(), config, LAYERS, VECTORS).alpha == 0.0


def test_evenly_spaced_layers_keep_their_order_for_the_sampler():
    config = SteeringConfig(directions=["caa"])
    vectors = {("caa", layer): VECTORS["caa", 2] for layer in range(10)}
    kinds = {}
    for layers in ((2, 4, 6), (2, 4, 7), (5,)):
        trial = optuna.create_study().ask()
        assert suggest(trial, config, layers, vectors).layer in layers
        kinds[layers] = trial.distributions["layer_id"]
    assert kinds[2, 4, 6] == optuna.distributions.IntDistribution(2, 6, step=2)
    assert kinds[2, 4, 7] == optuna.distributions.CategoricalDistribution((2, 4, 7))
    assert kinds[5,] == optuna.distributions.CategoricalDistribution((5,))


@pytest.mark.parametrize("method", ["caa", "dac"])
@pytest.mark.parametrize("unit", ["dose", "alpha"])
def test_a_band_has_one_strength_and_a_vector_per_layer(method, unit):
    params = {**DAC, "steering_method": method, f"steering_{unit}": 0.1, "layer_id": 0}
    candidate = suggested(params, band=2, unit=unit)
    assert (candidate.layer, candidate.band_layers) == (0, (0, 2))
    assert candidate_from_params(json.loads(json.dumps(candidate.params()))) == candidate
    steering = steering_of(candidate, {key: VECTORS[key] for key in candidate.vector_keys})
    assert [place.layer for place in steering.places] == [0, 2]
    for place in steering.places:
        vector = VECTORS["probe", place.layer]
        assert place.vector.tolist() == vector.raw.tolist()
        wanted = 0.1 if unit == "alpha" else vector.alpha(0.1)
        assert place.alpha == pytest.approx(wanted)
    assert (steering.dac is None) == (method == "caa")


def test_a_band_begins_where_it_fits():
    config = SteeringConfig(band=2, directions=["caa"])
    trial = optuna.create_study().ask()
    assert suggest(trial, config, LAYERS, VECTORS).layer in (0, 2)
    assert trial.distributions["layer_id"] == optuna.distributions.IntDistribution(0, 2, step=2)
    whole = suggest(
        optuna.create_study().ask(), SteeringConfig(band=3, directions=["caa"]), LAYERS, VECTORS
    )
    assert whole.band_layers == LAYERS
    with pytest.raises(UserError, match=r"band is 4, but steering\.layers are 3"):
        suggest(optuna.create_study().ask(), SteeringConfig(band=4), LAYERS, VECTORS)


def test_operators_are_caas():
    operators = ["clamp", "angular"]
    clamp = suggested({**CAA, "operator": "clamp"}, operators=operators)
    assert clamp.params()["operator"] == "clamp"
    assert candidate_from_params(clamp.params()) == clamp
    assert steering_of(clamp, VECTORS).operator == "clamp"
    assert suggested(DAC, operators=operators).operator == "add"
    only = suggested(CAA, operators=["norm_preserving"])
    assert only.operator == "norm_preserving"
    plain = suggested(CAA).params()
    assert not {"operator", "band_layers", "band_alphas"} & set(plain)


def test_an_angle_is_the_dose_in_radians():
    one = steering_of(suggested({**CAA, "layer_id": 0}, operators=["angular"], band=3), VECTORS)
    assert [place.alpha for place in one.places] == pytest.approx([0.3] * 3)
    assert [place.axis for place in one.places] == [None] * 3


def test_a_rotation_has_the_mean_of_its_layer_as_its_second_axis():
    candidate = suggested({**CAA, "layer_id": 0}, operators=["rotate"], band=3)
    with pytest.raises(ValueError, match="without the mean that spans its plane"):
        steering_of(candidate, VECTORS)
    means = {
        key: dataclasses.replace(vector, residual_mean=vector.raw + key[1] + ACROSS)
        for key, vector in VECTORS.items()
    }
    found = steering_of(candidate, means)
    assert [place.alpha for place in found.places] == pytest.approx([0.3] * 3)
    for place in found.places:
        assert torch.equal(place.axis, place.vector + place.layer + torch.from_numpy(ACROSS))
    assert candidate_from_params(json.loads(json.dumps(candidate.params()))) == candidate


@pytest.mark.parametrize("unit", ["dose", "alpha"])
def test_an_ablation_is_a_share_in_either_unit(unit):
    params = {**CAA, "layer_id": 0, f"steering_{unit}": 0.3}
    candidate = suggested(params, operators=["ablate"], band=3, unit=unit)
    assert (candidate.alpha, candidate.dose, candidate.band_alphas) == (0.3, 0.3, (0.3,) * 3)
    assert candidate_from_params(json.loads(json.dumps(candidate.params()))) == candidate
    assert [place.alpha for place in steering_of(candidate, VECTORS).places] == [0.3] * 3
    whole = {"operators": ["ablate"], "unit": unit, "strength": (0.0, 1.0)}
    alone = suggested({**CAA, f"steering_{unit}": 1.0}, **whole)
    assert (alone.alpha, alone.dose, alone.band_alphas) == (1.0, 1.0, ())
    both = suggested({**params, "operator": "add"}, operators=["ablate", "add"], unit=unit)
    assert both.alpha != both.dose


def test_the_unsteered_start_names_an_operator_where_there_are_several():
    config = SteeringConfig(operators=["angular", "add"])
    study = optuna.create_study()
    study.enqueue_trial(unsteered_start(config, LAYERS))
    assert suggest(study.ask(), config, LAYERS, VECTORS).operator == "angular"
    assert "operator" not in unsteered_start(SteeringConfig(), LAYERS)


@pytest.mark.parametrize("unit", ["dose", "alpha"])
def test_actadd_has_vectors_of_its_own(unit):
    raw = np.ones((3, HIDDEN), dtype=np.float32)
    vectors = {
        **VECTORS,
        **{("actadd", layer): Vector("actadd", layer, raw, 10.0) for layer in LAYERS},
    }
    params = {"steering_method": "actadd", "layer_id": 2, f"steering_{unit}": 0.1}
    config = SteeringConfig(
        methods=["caa", "actadd"],
        directions=["caa", "probe"],
        actadd_prompts=("Think.", "Guess."),
        operators=["clamp"],
        scope="all",
        unit=unit,
    )
    candidate = suggest(optuna.trial.FixedTrial(params), config, LAYERS, vectors)
    named = candidate.params()
    assert (named["steering_direction"], named["scope"]) == ("actadd", "prompt_start")
    assert not {"operator", "band_layers"} & set(named)
    assert candidate_from_params(named) == candidate
    steering = steering_of(candidate, {key: vectors[key] for key in candidate.vector_keys})
    assert steering.kind == "prompt_start"
    assert steering.vector.shape == raw.shape
    wanted = 0.1 if unit == "alpha" else vectors["actadd", 2].alpha(0.1)
    assert steering.alpha == pytest.approx(wanted)


def test_a_dac_candidate_that_lacks_a_parameter_is_a_bug():
    broken = Candidate(
        "dac", "caa", 2, 1.0, 0.1, "from_last_prompt_token", ptop=0.5, schedule="dynamic"
    )
    with pytest.raises(ValueError, match="lacks a parameter"):
        steering_of(broken, VECTORS)


def trained_vectors(layers):
    rng = np.random.default_rng(3)
    return {
        ("trained", layer): Vector(
            "trained", layer, rng.normal(size=8).astype(np.float32) * (1 + layer), 50.0
        )
        for layer in layers
    }


def test_trained_vectors_are_tried_as_they_were_trained():
    vectors = {**VECTORS, **trained_vectors(LAYERS)}
    config = SteeringConfig(methods=["dac", "caa"], directions=["caa", "trained"])
    points = trained_starts(config, LAYERS, vectors)
    assert [point["layer_id"] for point in points] == [*LAYERS]
    for point in points:
        study = optuna.create_study()
        study.enqueue_trial(point)
        candidate = suggest(study.ask(), config, LAYERS, vectors)
        assert (candidate.method, candidate.direction) == ("caa", "trained")
        top = config.strength[1]
        if vectors["trained", candidate.layer].dose(1.0) < top:
            assert candidate.alpha == pytest.approx(1.0)
        else:
            assert candidate.dose == pytest.approx(top)
    assert trained_starts(SteeringConfig(directions=["caa"]), LAYERS, vectors) == []
    assert trained_starts(SteeringConfig(methods=["dac"]), LAYERS, vectors) == []
    alphas = trained_starts(
        SteeringConfig(unit="alpha", strength=(0.0, 2.0), directions=["trained"]), LAYERS, vectors
    )
    assert {point["steering_alpha"] for point in alphas} == {1.0}
    # They are meant to be added, not to be removed.
    removing = SteeringConfig(directions=["trained"], operators=["ablate"])
    assert trained_starts(removing, LAYERS, vectors) == []
    either = SteeringConfig(directions=["trained"], operators=["ablate", "clamp"])
    starts = trained_starts(either, LAYERS, vectors)
    assert [point["operator"] for point in starts] == ["clamp"] * len(LAYERS)


def test_vectors_that_were_trained_together_keep_their_proportions():
    layers = (1, 2, 3)
    vectors = trained_vectors(layers)
    config = SteeringConfig(directions=["trained"], band=3, strength=(-0.5, 0.5))
    [point] = trained_starts(config, layers, vectors)
    study = optuna.create_study()
    study.enqueue_trial({**point, "steering_dose": 0.25})
    candidate = suggest(study.ask(), config, layers, vectors)
    assert candidate.band_layers == layers
    assert len(set(candidate.band_alphas)) == 1
    doses = [vectors["trained", layer].dose(candidate.alpha) for layer in layers]
    assert np.mean(doses) == pytest.approx(0.25) == pytest.approx(candidate.dose)
    assert max(doses) > 1.3 * min(doses)


def test_a_vector_along_the_mean_has_no_plane_to_turn_in():
    vector = VECTORS["probe", 2]
    candidate = suggested(CAA, operators=["rotate"])
    beside = dataclasses.replace(suggested(CAA), beside=(candidate,))
    for mean, told in ((-3.0 * vector.raw, "no plane to turn in"), (vector.raw + ACROSS, None)):
        vectors = {**VECTORS, ("probe", 2): dataclasses.replace(vector, residual_mean=mean)}
        for one in (candidate, beside):
            if told is None:
                assert steering_of(one, vectors) is not None
                continue
            with pytest.raises(UserError, match=told):
                steering_of(one, vectors)
