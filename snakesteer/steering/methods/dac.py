"""Add α·α_t·v to the residual stream, α_t set per token by how much steering would change it.

Dynamic activation composition (Scalena, Sarti and Nissim 2024, arXiv 2406.17563), in a form for one
constant vector of the residual stream: see `snakesteer.steering.dac`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snakesteer.config import Range, SteeringConfig
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods.base import (
    Space,
    Trial,
    directed_choices,
    kl_spans,
    suggest_direction,
    suggest_float,
    suggest_kl,
    suggest_layered,
)

KIND = "residual"
KEYS = ("steering.dac_kl",)


def suggest(trial: Trial, space: Space) -> Candidate:
    """Direction, layer and strength, then the entropy threshold and the parameters of the KL."""
    config = space.config
    candidate = suggest_layered(trial, space, suggest_direction(trial, space), config.band)
    threshold = suggest_float(trial, "entropy_threshold", config.dac_entropy_threshold)
    own = {"entropy_threshold": threshold, **suggest_kl(trial, config, candidate.alpha)}
    return replace(candidate, schedule="dynamic", **own)


def choices(config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[Any]]:
    """Direction and layer."""
    return directed_choices(config, layers)


def spans(config: SteeringConfig) -> dict[str, Range]:
    """Entropy threshold, top-p mass, and the cap of the KL."""
    return {"entropy_threshold": config.dac_entropy_threshold, **kl_spans(config)}


def dynamic(config: SteeringConfig) -> bool:
    """Always."""
    return True
