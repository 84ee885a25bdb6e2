"""Add the difference of two prompts to the start of every prompt.

ActAdd: Turner et al. 2023, "Steering Language Models With Activation Engineering" (arXiv
2308.10248). It has vectors of its own, one per position (`snakesteer.vectors.actadd`).
"""

from collections.abc import Sequence
from typing import Any

from snakesteer.config import Range, SteeringConfig
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods.base import Space, Trial, suggest_layered

KIND = "prompt_start"
KEYS = ("steering.actadd_prompts",)
NEEDS = ("steering.actadd_prompts",)


def suggest(trial: Trial, space: Space) -> Candidate:
    """Layer and strength."""
    return suggest_layered(trial, space, space.method)


def choices(config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[Any]]:
    """The layer."""
    return {"layer_id": [*layers]}


def spans(config: SteeringConfig) -> dict[str, Range]:
    """None."""
    return {}


def dynamic(config: SteeringConfig) -> bool:
    """No."""
    return False
