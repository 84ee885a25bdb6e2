"""Strengths in nats: curves, and what trials choose by them."""

import math
from dataclasses import replace

import optuna
import pytest

from snakesteer.config import SteeringConfig
from snakesteer.errors import UserError
from snakesteer.records.files import write_json
from snakesteer.steering.candidate import candidate_from_params
from snakesteer.steering.kl_unit import KlCurve, KlCurves, curves_of, read_curves
from snakesteer.steering.space import suggest, trained_starts, unsteered_start
from snakesteer.steering.vector import Vector
from tests.unit.search.fakes import LAYERS, VECTORS

CURVE = KlCurve((0.0, 0.01, 0.04, 0.09), (0.0, 0.1, 0.2, 0.4))


def config(**changes):
    fixed = {"methods": ["caa"], "directions": ["caa", "probe"], "strength": (-0.09, 0.09)}
    return SteeringConfig(**{**fixed, "unit": "kl", **changes})


def curves(*methods, operators=("add",)):
    """Curves of which every one has its own scale: ten times the layer's number in front of one."""
    record = [
        {
            "method": method,
            "direction": direction,
            "layer": layer,
            "operator": operator,
            "sign": sign,
            "nats": [0.01, 0.04, 0.09],
            "doses": [dose * scale_of(layer, operator, sign) for dose in (0.1, 0.2, 0.4)],
        }
        for method in methods
        for direction in ("caa", "probe", "trained")
        for layer in LAYERS
        for operator in operators
        for sign in (1, -1)
    ]
    return curves_of({"curves": record})


def scale_of(layer, operator="add", sign=1):
    return (1.0 + layer) * (2.0 if operator == "angular" else 1.0) * (3.0 if sign < 0 else 1.0)


def chosen(trial_params, space=None, found=None):
    trial = optuna.trial.FixedTrial(trial_params)
    return suggest(trial, space or config(), LAYERS, VECTORS, found or curves("caa"))


def test_doses_follow_the_root_of_the_kl_between_what_is_known():
    assert [CURVE.dose(nats) for nats in CURVE.nats] == pytest.approx([*CURVE.doses])
    assert CURVE.dose(0.0) == 0.0
    assert CURVE.dose(0.0025) == pytest.approx(0.05)  # half of the root of the first one
    assert CURVE.dose(0.0625) == pytest.approx(0.3)  # 0.25, between 0.2 and 0.3
    for nats in (0.0, 0.001, 0.01, 0.02, 0.08, 0.09):
        assert CURVE.nats_of(CURVE.dose(nats)) == pytest.approx(nats)
    assert CURVE.nats_of(7.0) == pytest.approx(0.09)


def test_a_strength_that_was_not_looked_for_is_refused():
    with pytest.raises(UserError, match=r"0\.1 nats is beyond .* largest of this sign is 0\.09"):
        CURVE.dose(0.1)
    assert CURVE.dose(0.09 * (1 + 1e-12)) == pytest.approx(0.4)


def test_where_the_kl_leaps_two_strengths_may_be_one_dose():
    leap = KlCurve((0.0, 0.01, 0.04), (0.0, 0.1, 0.1))
    assert leap.dose(0.02) == 0.1
    assert leap.nats_of(0.1) > 0.0
    assert leap.nats_of(0.2) == pytest.approx(0.04)


@pytest.mark.parametrize("nats", [0.02, -0.02, 0.09])
def test_a_trial_chooses_nats_and_steers_at_their_dose(nats):
    params = {
        "steering_method": "caa",
        "steering_direction": "probe",
        "layer_id": 2,
        "steering_kl": nats,
    }
    found = chosen(params)
    sign = 1 if nats > 0 else -1
    dose = math.copysign(CURVE.dose(abs(nats)) * scale_of(2, sign=sign), nats)
    assert found.nats == nats
    assert found.dose == pytest.approx(dose)
    assert found.alpha == pytest.approx(VECTORS["probe", 2].alpha(dose))
    told = found.params()
    assert told["steering_kl"] == nats
    assert candidate_from_params(told) == found


def test_no_strength_is_exactly_none():
    start = unsteered_start(config(), LAYERS)
    assert start["steering_kl"] == 0.0
    found = chosen(start)
    assert (found.alpha, found.dose, found.nats) == (0.0, 0.0, 0.0)
    assert found.params()["steering_kl"] == 0.0


def test_other_units_have_no_nats():
    params = {"steering_method": "caa", "steering_direction": "caa", "layer_id": 0}
    trial = optuna.trial.FixedTrial({**params, "steering_dose": 0.05})
    found = suggest(trial, config(unit="dose"), LAYERS, VECTORS)
    assert found.nats is None
    assert "steering_kl" not in found.params()


def test_each_operator_has_its_own_doses():
    space = config(operators=["add", "angular"])
    params = {
        "steering_method": "caa",
        "steering_direction": "caa",
        "layer_id": 2,
        "steering_kl": 0.04,
    }
    by_operator = {
        operator: chosen(
            {**params, "operator": operator}, space, curves("caa", operators=("add", "angular"))
        )
        for operator in ("add", "angular")
    }
    assert by_operator["angular"].dose == pytest.approx(2.0 * by_operator["add"].dose)
    assert by_operator["angular"].operator == "angular"


def test_dac_probes_at_the_dose_of_its_nats():
    params = {
        "steering_method": "dac",
        "steering_direction": "caa",
        "layer_id": 3,
        "steering_kl": 0.01,
        "entropy_threshold": 0.5,
        "ptop": 0.4,
        "max_alpha": 2.0,
    }
    found = chosen(params, config(methods=["dac"]), curves("dac"))
    assert found.dose == pytest.approx(0.1 * scale_of(3))
    assert found.probe_alpha == pytest.approx(2.0 * found.alpha)
    assert (found.schedule, found.nats) == ("dynamic", 0.01)


def test_trained_vectors_start_at_the_nats_of_their_dose():
    vectors = {
        ("trained", layer): Vector("trained", layer, vector.raw, 10.0)
        for (_, layer), vector in VECTORS.items()
    }
    space = config(directions=["trained"])
    found = curves("caa")
    for point, layer in zip(trained_starts(space, LAYERS, vectors, found), LAYERS, strict=True):
        curve = found.by_key["caa", "trained", layer, "add", 1]
        wanted = curve.nats_of(vectors["trained", layer].dose(1.0))
        assert point["steering_kl"] == pytest.approx(wanted)
        again = suggest(optuna.trial.FixedTrial(point), space, LAYERS, vectors, found)
        assert found.nats(again) == pytest.approx(wanted)


def test_what_has_no_curve_is_refused():
    found = chosen(
        {
            "steering_method": "caa",
            "steering_direction": "caa",
            "layer_id": 2,
            "steering_kl": 0.04,
        }
    )
    one_sided = KlCurves({key: c for key, c in curves("caa").by_key.items() if key[-1] > 0})
    assert one_sided.dose(found, 0.04) == pytest.approx(found.dose)
    with pytest.raises(UserError, match="no strength in nats for caa with caa at layer 2, sign -1"):
        one_sided.dose(found, -0.04)
    with pytest.raises(UserError, match="no strength in nats for dac"):
        curves("caa").dose(replace(found, method="dac"), 0.04)


def test_the_file_is_read(tmp_path):
    assert read_curves([]) is None
    curve = {"method": "caa", "direction": "caa", "layer": 0, "operator": "add", "sign": -1}
    record = {"curves": [{**curve, "nats": [0.01], "doses": [0.2]}]}
    write_json(tmp_path / "kl_strengths.json", record)
    found = read_curves([tmp_path / "kl_strengths.json"])
    assert found.by_key == {("caa", "caa", 0, "add", -1): KlCurve((0.0, 0.01), (0.0, 0.2))}
