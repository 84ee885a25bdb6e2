"""DAC as published, at all attention heads.

Dynamic activation composition: Scalena, Sarti and Nissim 2024, "Multi-property Steering of Large
Language Models with Dynamic Activation Composition" (arXiv 2406.17563). Its vectors change from
token to token (`snakesteer.vectors.dac_heads`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snakesteer.config import Range, SteeringConfig
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods.base import Space, Trial, kl_spans, suggest_heads, suggest_kl

KIND = "heads"
KEYS = (
    "steering.dac_kl",
    "steering.heads_schedule",
    "steering.heads_after",
    "heads.prompts",
    "heads.examples",
    "heads.steps",
)


def suggest(trial: Trial, space: Space) -> Candidate:
    """The strength, and the parameters of the KL where the schedule is dynamic."""
    config = space.config
    candidate = suggest_heads(trial, space, config.heads_schedule, config.heads_after)
    if not dynamic(config):
        return candidate
    return replace(candidate, **suggest_kl(trial, config, candidate.alpha))


def choices(config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[Any]]:
    """None."""
    return {}


def spans(config: SteeringConfig) -> dict[str, Range]:
    """Top-p mass and the cap of the KL, where the schedule is dynamic."""
    return kl_spans(config) if dynamic(config) else {}


def dynamic(config: SteeringConfig) -> bool:
    """As its schedule says."""
    return config.heads_schedule == "dynamic"
