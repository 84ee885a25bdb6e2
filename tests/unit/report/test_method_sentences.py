"""What the methods paragraph says of each steering method, and what it must not."""

from dataclasses import replace

import pytest

from snakesteer.config import Config
from snakesteer.report.methods_text import bibliography, cited, methods_text

RESIDUAL = "the residual stream's mean norm"
HEADS = "a layer's head outputs"
PROMPTS = {"actadd_prompts": ["Think.", "Guess."]}
# A steering section; what the text must say, and must not.
STEERED = [
    (
        {"methods": ["caa"], "scope": "first_k", "first_k": 3},
        ["at the first 3 positions from the", "[@rimsky2024caa] added α", "Layer and strength"],
        ["DAC", "direction and", HEADS],
    ),
    (
        {"methods": ["caa"], "scope": "generated_window", "generated_window": [2, 6]},
        ["at the generated tokens 2 to 5, counted from 0."],
        ["first", "last prompt token"],
    ),
    (
        {"methods": ["caa"], "scope": "at_tokens", "at_tokens": r"\n\n$"},
        [r"of a block, at generated tokens that match “\n\n$”."],
        ["last prompt token"],
    ),
    (
        {"methods": ["caa"], "scope": "at_tokens", "at_tokens": "[x]\n\n$"},
        [r"of a block, at generated tokens that match “[x]\n\n$”."],
        ["last prompt token"],
    ),
    (
        {"methods": ["caa"], "scope": "not_at_tokens", "at_tokens": [7, "e"]},
        ["of a block, at generated tokens but those among [7, 'e']."],
        ["last prompt token"],
    ),
    (
        {
            "methods": ["caa"],
            "scope": "outside_generated_window",
            "generated_window": [2, 6],
            "operators": ["ablate"],
        },
        ["of a block, at generated tokens other than 2 to 5, counted from 0, by removing"],
        ["last prompt token"],
    ),
    (
        {"methods": ["dac"], "dac_kl": "per_token", "directions": ["caa", "pca"]},
        [
            "Direction, layer, entropy threshold, top-p mass, cap",
            "steering at 2α would",
            "KL divergence was div",
            "zou",
        ],
        ["from the last prompt token on", "Method", HEADS],
    ),
    (
        {"methods": ["dac_heads"], "dac_max_alpha": [2, 2], "heads_after": "hold"},
        ["30 prompts from train", "the last token's difference", "Top-p mass and strength", HEADS],
        ["Steering vectors for", "rimsky", "from the last prompt", "Layer", RESIDUAL, "KL div"],
    ),
    (
        {"methods": ["dac_heads"], "heads_schedule": "start", "unit": "alpha"},
        [
            "with α at the last prompt token alone.",
            "Strength (between",
            "tor) was searched",
            "a factor on the raw",
        ],
        ["next-token distribution", "Top-p", HEADS],
    ),
    (
        {"methods": ["iti"]},
        ["at the 48 attention heads", "[@li2023iti]", "A contrast pair is the gold", HEADS],
        ["Steering vectors for", "rimsky", "scalena", "Layer", RESIDUAL],
    ),
    (
        {"methods": ["actadd"], **PROMPTS},
        ["“Think.” and “Guess.”", "one of the blocks 9, 14, 20", "Layer and strength", RESIDUAL],
        ["contrast pair", "Steering vectors for", "rimsky", "from the last prompt token on"],
    ),
    (
        {"methods": ["caa"], "operators": ["angular"], "band": 2},
        [
            "by turning it towards",
            "[@vu2025angular]",
            "0.2: for a turn, the angle in radians)",
            "2 consecutive ones of these blocks",
        ],
        [RESIDUAL, "operator"],
    ),
    (
        {
            "methods": ["together"],
            "directions": ["caa", "probe"],
            "together": [
                {"direction": "caa", "layer": 9, "scope": "all"},
                {"direction": "probe", "layer": 14, "weight": -0.5, "operator": "ablate"},
            ],
        },
        [
            "Several vectors changed the residual stream of every text, in this order: (1) behind "
            "block 9 by adding α times the vector, with the caa direction at 1 times the strength, "
            "at all positions; (2) behind block 14 by removing a share",
            "with the probe direction at -0.5 times the strength, from the last prompt token on.",
            "for an ablation, the share of the component that is removed",
        ],
        ["rimsky2024caa] added"],
    ),
    (
        {"methods": ["caa"], "operators": ["rotate"]},
        [
            "in the plane of the vector and the residual stream's mean",
            "0.2: for a turn, the angle in radians)",
        ],
        [RESIDUAL, "operator"],
    ),
    (
        {"methods": ["caa"], "operators": ["ablate", "angular"]},
        ["by removing a share", "[@arditi2024refusal]", "radians; for an ablation, the share of"],
        [RESIDUAL],
    ),
    (
        {"methods": ["caa"], "operators": ["ablate"], "unit": "alpha"},
        ["0.2: for an ablation, the share of the component that is removed)"],
        [RESIDUAL, "a factor on the raw"],
    ),
    (
        {"methods": ["caa", "iti"], "operators": ["clamp", "add"]},
        ["or by adding", "Method, layer (CAA), operator (CAA) and strength", RESIDUAL, HEADS],
        ["radians"],
    ),
]


def methods_of(evidence, steering):
    """The methods paragraph of a run with other keys of steering."""
    plain = {"directions": ["caa"], "strength": [-0.2, 0.2]}
    section = {**evidence.config["steering"], **plain, **steering}
    config = Config.model_validate({**evidence.config, "steering": section})
    record = {**evidence.provenance, "config": config.model_dump(mode="json")}
    return methods_text(replace(evidence, provenance=record))


@pytest.mark.parametrize(("steering", "said", "unsaid"), STEERED)
def test_every_method_has_its_own_sentences(report, steering, said, unsaid):
    text = methods_of(report("left alone").evidence, steering)
    for part in said:
        assert part in text
    for part in unsaid:
        assert part not in text
    assert set(cited(text)) <= set(bibliography())
