"""Inference-time intervention at the attention heads that know best.

Li et al. 2023, "Inference-Time Intervention: Eliciting Truthful Answers from a Language Model"
(arXiv 2306.03341). What it adds does not change in time (`snakesteer.vectors.iti`).
"""

from collections.abc import Sequence
from typing import Any

from snakesteer.config import Range, SteeringConfig
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods.base import Space, Trial, suggest_heads

KIND = "heads"
KEYS = ("heads.iti_heads",)


def suggest(trial: Trial, space: Space) -> Candidate:
    """The strength."""
    return suggest_heads(trial, space, schedule="fixed", after="hold")


def choices(config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[Any]]:
    """None."""
    return {}


def spans(config: SteeringConfig) -> dict[str, Range]:
    """None."""
    return {}


def dynamic(config: SteeringConfig) -> bool:
    """No."""
    return False
