"""Gates in words: in the methods paragraph, and where a configuration is named."""

import pytest

from snakesteer.report.methods_text import bibliography, cited
from snakesteer.report.wording import configuration, delivered_words
from tests.unit.report.test_method_sentences import methods_of


@pytest.mark.parametrize(
    ("steering", "said"),
    [
        (
            {"gates": ["none", {"layer": 9}, {"layer": 8, "when": "prompt"}]},
            [
                "from the last prompt token on. It did so either at all of these positions, or "
                "only where the cosine with the caa direction of the token at layer 9 is above the "
                "0.5 quantile of train; or where the cosine",
                "of the last prompt token at layer 8",
                "a gate after CAST [@lee2024cast]",
                "Layer, gate and strength",
            ],
        ),
        (
            {
                "operators": ["ablate"],
                "gates": [
                    {"layer": 9, "score": "projection", "side": "below", "direction": "probe"}
                ],
            },
            [
                "It did so only where the projection on the probe direction of the token at layer "
                "9 is below the 0.5 quantile of train: a gate",
                "Layer and strength",
            ],
        ),
        ({}, ["from the last prompt token on. "]),
    ],
)
def test_the_methods_paragraph_says_when_a_gate_is_open(report, steering, said):
    text = methods_of(report("left alone").evidence, {"methods": ["caa"], **steering})
    for part in said:
        assert part in text
    assert set(cited(text)) <= set(bibliography())
    assert ("lee2024cast" in cited(text)) == bool(steering)


def test_a_gate_is_told_with_its_threshold_and_how_often_it_was_open():
    params = {"steering_method": "caa", "steering_direction": "pca", "layer_id": 3}
    params |= {"steering_alpha": 1.5, "steering_dose": 0.2}
    gate = {"score": "cosine", "direction": "caa", "layer": 2, "side": "below", "when": "prompt"}
    told = configuration({**params, "gate": {**gate, "quantile": 0.25, "threshold": 0.1234}})
    assert told.endswith(
        "(dose 0.2), where the cosine with the caa direction of the last prompt token at layer 2 "
        "is below 0.123 (the 0.25 quantile of train)"
    )
    results = {"steered_share": 0.305, "delivered_dose": 0.2}
    assert delivered_words(results) == (
        "gate let 30.5% of the tokens of the test answers be steered"
    )
    assert delivered_words({"delivered_dose": 0.2}) == ""
