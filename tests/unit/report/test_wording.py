"""Numbers and configurations as a reader wants to see them."""

import pytest

from snakesteer.config import Config
from snakesteer.report.wording import (
    configuration,
    data_name,
    left_open,
    model_name,
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
    recommended,
    signed,
    trained_on,
    verdict_words,
)


def test_fractions():
    assert percent(0.4567) == "45.7%"
    assert percent_interval((0.0, 1.0)) == "0.0% to 100.0%"
    assert points(0.04) == "+4.0 points"
    assert points(-0.0001) == "0.0 points"
    assert points_interval([-0.012, 0.05]) == "−1.2 to +5.0 points"


@pytest.mark.parametrize(("value", "text"), [(0.0004, "0.000"), (-0.05, "−0.050"), (1, "+1.000")])
def test_signs(value: float, text: str):
    assert signed(value, 3) == text


def test_p_values():
    assert p_value(1.0) == "p = 1"
    assert p_value(0.0312) == "p = 0.031"
    assert p_value(0.0009) == "p < 0.001".replace("< ", "<\N{NO-BREAK SPACE}")


def test_names():
    config = Config().model_dump()
    assert model_name(config["model"]) == "SmolLM2-135M-Instruct"
    assert model_name({**config["model"], "name": "gpt2"}) == "gpt2"
    assert data_name(config["data"]) == "generated word problems in the format of GSM8K"
    assert data_name({**config["data"], "source": "hub"}) == "GSM8K"
    folder = {**config["data"], "source": "folder", "folder": "../shared/svamp"}
    assert data_name(folder) == "the problems in the folder svamp"


def test_the_strength_of_a_rotation_is_its_angle():
    params = {"steering_method": "caa", "steering_direction": "pca", "layer_id": 3}
    params |= {"steering_alpha": 1.5, "steering_dose": 0.2}
    place = "with the pca direction at layer 3"
    assert configuration(params) == f"caa {place}, α = 1.5 (dose 0.2)"
    clamp = configuration({**params, "operator": "clamp"})
    assert clamp == f"caa (clamp) {place}, α = 1.5 (dose 0.2)"
    turned = configuration({**params, "operator": "angular"})
    assert turned == f"caa (angular) {place}, angle 0.2 radians"
    rotated = configuration({**params, "operator": "rotate"})
    assert rotated == f"caa (rotate) {place}, angle 0.2 radians"
    ablated = configuration({**params, "operator": "ablate", "steering_alpha": 0.2})
    assert ablated == f"caa (ablate) {place}, 0.2 of the component removed"


def test_several_vectors_are_all_named():
    one = {"steering_method": "together", "steering_direction": "caa", "layer_id": 9}
    one |= {"steering_alpha": 1.5, "steering_dose": 0.2, "scope": "all"}
    clamp = {**one, "steering_direction": "pca", "operator": "clamp", "steering_alpha": -1.0}
    assert configuration({**one, "further": [clamp, one]}) == (
        "together with the caa direction at layer 9, α = 1.5 (dose 0.2); and (clamp) with the pca "
        "direction at layer 9, α = -1 (dose 0.2); and with the caa direction at layer 9, α = 1.5 "
        "(dose 0.2)"
    )


RESULTS = {
    "accuracy_improvement_ci": [-0.012, 0.05],
    "equivalence": {"margin": 0.025, "p_value": 0.2},
    "num_test_samples": 40,
}


def test_verdicts():
    words = {
        name: verdict_words({**RESULTS, "verdict": name})
        for name in ("helps", "hurts", "equivalent", "inconclusive")
    }
    assert words == {
        "helps": "helps",
        "hurts": "hurts",
        "equivalent": "equivalent (within 2.5 points)",
        "inconclusive": "inconclusive (the data leave room for −1.2 to +5.0 points)",
    }


def test_an_interval_without_a_width_leaves_nothing_shut():
    for end in (0.0, 1.0):
        told = left_open({**RESULTS, "accuracy_improvement_ci": [end, end]})
        assert told == "40 problems are too few to rule out 2.5 points"


def test_recommendations():
    assert recommended({"recommendation": "steer"}) == "Recommended on validation: steer."
    alone = recommended({"recommendation": "leave alone"})
    assert alone.startswith("Recommended on validation: leave the model alone;")


def test_what_a_trained_vector_learned_from():
    config = Config().model_dump()
    learned = config["data"]["train"] - config["prompt"]["shots"]
    told = trained_on(config, {"steering_direction": "trained"})
    assert told.startswith(f"trained on {learned} train problems, objective ")
    assert trained_on(config, {"steering_direction": "caa"}) == ""
