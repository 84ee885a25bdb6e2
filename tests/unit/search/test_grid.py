"""Which samplers fit which spaces, and the points of a grid."""

import pytest

from snakesteer.config import SearchConfig, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.search.grid import check_sampler, grid_points

CAA = {"methods": ["caa"], "directions": ["caa"], "strength": (-0.5, 0.5)}
EVEN, UNEVEN = (2, 4, 6), (2, 3, 6)


def check(sampler, layers=EVEN, search=(), **steering):
    settings = SearchConfig(sampler=sampler, **dict(search))
    check_sampler(settings, SteeringConfig(**{**CAA, **steering}), layers)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_tpe_and_random_take_every_space(sampler):
    check(sampler, UNEVEN, methods=["caa", "dac"], directions=["caa", "probe"])


@pytest.mark.parametrize("sampler", ["gp", "qmc", "cmaes", "grid"])
def test_the_others_need_one_method(sampler):
    check(sampler)
    check(sampler, methods=["dac"])
    with pytest.raises(UserError, match=rf"'{sampler}'.*one method.*steering\.methods.*tpe"):
        check(sampler, methods=["caa", "dac"])


@pytest.mark.parametrize("sampler", ["qmc", "cmaes"])
def test_qmc_and_cmaes_need_an_order(sampler):
    check(sampler, layers=(3,))
    with pytest.raises(UserError, match=r"choices without an order \(steering\.directions\)"):
        check(sampler, directions=["caa", "probe"])
    with pytest.raises(UserError, match=r"choices without an order \(steering\.operators\)"):
        check(sampler, operators=["add", "clamp"])
    with pytest.raises(UserError, match=r"choices without an order \(steering\.gates\)"):
        check(sampler, gates=["none", {"layer": 1}])
    check(sampler, gates=[{"layer": 1}])
    with pytest.raises(UserError, match=r"not evenly spaced \(steering\.layers\)"):
        check(sampler, layers=UNEVEN)
    with pytest.raises(UserError, match=r"one method.* and .*directions.* and .*layers"):
        check(sampler, UNEVEN, methods=["caa", "dac"], directions=["caa", "probe"])


@pytest.mark.parametrize("sampler", ["gp", "grid"])
def test_gp_and_grid_take_categories(sampler):
    check(sampler, UNEVEN, directions=["caa", "probe"])


def test_a_grid_holds_no_more_trials_than_points():
    three = {"grid_points": 3}  # -0.5 and 0.5 at three layers, and no steering
    check("grid", search={**three, "n_trials": 7})
    with pytest.raises(UserError, match=r"n_trials is 8, but the grid has 7 points.*n_trials: 7"):
        check("grid", search={**three, "n_trials": 8})


def test_the_grid_has_every_steered_point_once():
    steering = SteeringConfig(**{**CAA, "directions": ["caa", "probe"], "unit": "alpha"})
    points = grid_points(SearchConfig(grid_points=5), steering, UNEVEN)
    found = {(p["steering_direction"], p["layer_id"], p["steering_alpha"]) for p in points}
    strengths = (-0.5, -0.25, 0.25, 0.5)
    assert found == {(d, n, s) for d in ("caa", "probe") for n in UNEVEN for s in strengths}
    assert len(points) == len(found)


def test_a_grid_of_operators_and_bands():
    steering = SteeringConfig(**{**CAA, "operators": ["add", "clamp"], "band": 2})
    points = grid_points(SearchConfig(grid_points=2), steering, UNEVEN)
    found = {(p["operator"], p["layer_id"], p["steering_dose"]) for p in points}
    assert found == {(o, n, s) for o in ("add", "clamp") for n in (2, 3) for s in (-0.5, 0.5)}
    assert len(points) == 8
    check("grid", search={"grid_points": 2, "n_trials": 9}, operators=["add", "clamp"], band=2)
    with pytest.raises(UserError, match="the grid has 9 points"):
        check("grid", search={"grid_points": 2, "n_trials": 10}, operators=["add", "clamp"], band=2)
    check("qmc", UNEVEN, band=2)  # the layers that a band begins with are evenly spaced


def test_a_grid_of_actadd_has_no_directions():
    prompts = {"methods": ["actadd"], "actadd_prompts": ("Think.", "Guess.")}
    points = grid_points(SearchConfig(grid_points=2), SteeringConfig(**{**CAA, **prompts}), (1, 2))
    assert {(p["layer_id"], p["steering_dose"]) for p in points} == {
        (layer, dose) for layer in (1, 2) for dose in (-0.5, 0.5)
    }
    assert not any("steering_direction" in point for point in points)


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_band_needs_as_many_layers(sampler):
    check(sampler, band=3, search={"n_trials": 2})
    with pytest.raises(UserError, match=r"band is 4, but steering\.layers are 3: \[2, 4, 6\]"):
        check(sampler, band=4)


def test_a_zero_moved_by_rounding_is_no_point():
    # Seven steps from -0.7 to 0.8 meet at 1e-17 or so.
    for low, high, count in ((-0.7, 0.8, 16), (-0.3, 0.3, 7), (-0.1, 0.2, 4)):
        steering = SteeringConfig(**{**CAA, "strength": (low, high)})
        points = grid_points(SearchConfig(grid_points=count), steering, (1,))
        strengths = [point["steering_dose"] for point in points]
        assert len(strengths) == count - 1
        assert all(abs(strength) > 0.05 for strength in strengths)
        assert (min(strengths), max(strengths)) == pytest.approx((low, high))


def test_the_seed_shuffles_the_grid():
    steering = SteeringConfig(**CAA)

    def points(seed):
        return grid_points(SearchConfig(grid_points=5, seed=seed), steering, EVEN)

    assert points(0) == points(0) != points(1)
    assert sorted(map(str, points(0))) == sorted(map(str, points(1)))


def test_a_grid_of_dac_has_its_own_parameters():
    steering = SteeringConfig(**{**CAA, "methods": ["dac"], "dac_ptop": (0.4, 0.4)})
    points = grid_points(SearchConfig(grid_points=2), steering, (1,))
    assert {p["steering_dose"] for p in points} == {-0.5, 0.5}
    assert {p["entropy_threshold"] for p in points} == {0.0, 2.0}
    assert {p["ptop"] for p in points} == {0.4}
    assert {p["max_alpha"] for p in points} == {1.0, 5.0}
    assert len(points) == 8
