"""The search space: what a trial chooses."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from snakesteer.config import (
    HEAD_METHODS,
    After,
    Direction,
    Method,
    Operator,
    Range,
    Schedule,
    SteeringConfig,
)
from snakesteer.steering.bands import band_from, band_starts
from snakesteer.steering.candidate import ALL_LAYERS, Candidate, VectorKey
from snakesteer.steering.vector import AnyVector


class Trial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of several values."""

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """Choose a number in a closed interval."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Choose a whole number."""


def strength_name(config: SteeringConfig) -> str:
    """The searched parameter: ``steering_alpha`` or ``steering_dose``."""
    return f"steering_{config.unit}"


def suggest(
    trial: Trial,
    config: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, AnyVector],
) -> Candidate:
    """Let a trial choose a configuration; a method's own parameters exist for its trials alone."""
    method: Method = trial.suggest_categorical("steering_method", config.methods)
    if method in HEAD_METHODS:
        return _suggest_heads(trial, method, config, layers[0], vectors[method, ALL_LAYERS])
    actadd = method == "actadd"
    direction: Direction = (
        "actadd" if actadd else trial.suggest_categorical("steering_direction", config.directions)
    )
    layer = _suggest_layer(trial, band_starts(layers, config.band))
    strength = _suggest_float(trial, strength_name(config), config.strength)
    in_alpha = config.unit == "alpha"
    band = (layer,) if actadd else band_from(layers, config.band, layer)
    found = [vectors[direction, one] for one in band]
    alphas = tuple(strength if in_alpha else vector.alpha(strength) for vector in found)
    return Candidate(
        method=method,
        direction=direction,
        layer=layer,
        alpha=alphas[0],
        dose=found[0].dose(strength) if in_alpha else strength,
        scope=config.scope if method == "caa" else "from_last_prompt_token",
        first_k=config.first_k if method == "caa" else None,
        operator=_suggest_operator(trial, config) if method == "caa" else "add",
        band_layers=band if len(band) > 1 else (),
        band_alphas=alphas if len(band) > 1 else (),
        **(_suggest_dac(trial, config) if method == "dac" else {}),
    )


def _suggest_heads(
    trial: Trial, method: Method, config: SteeringConfig, layer: int, vector: AnyVector
) -> Candidate:
    """A configuration that steers attention heads, of all layers that the method steers."""
    strength = _suggest_float(trial, strength_name(config), config.strength)
    in_alpha = config.unit == "alpha"
    # What ITI adds does not change in time.
    schedule: Schedule = "fixed" if method == "iti" else config.heads_schedule
    after: After = "hold" if method == "iti" else config.heads_after
    return Candidate(
        method=method,
        direction=method,
        layer=layer,
        alpha=strength if in_alpha else vector.alpha(strength),
        dose=vector.dose(strength) if in_alpha else strength,
        scope="from_last_prompt_token",
        schedule=schedule,
        after=after,
        **(_suggest_kl(trial, config) if schedule == "dynamic" else {}),
    )


def unsteered_start(config: SteeringConfig, layers: Sequence[int]) -> dict[str, Any]:
    """Optuna parameters of trial 0: no steering."""
    start = {
        "steering_method": config.methods[0],
        strength_name(config): 0.0,
    }
    if config.methods[0] in HEAD_METHODS:
        return start
    return {
        **start,
        "steering_direction": config.directions[0],
        "layer_id": layers[0],
        **({"operator": config.operators[0]} if len(config.operators) > 1 else {}),
    }


def _suggest_layer(trial: Trial, layers: Sequence[int]) -> int:
    """Evenly spaced layers keep their order for the sampler; others are categories."""
    steps = {b - a for a, b in itertools.pairwise(layers)}
    if len(steps) == 1:
        return trial.suggest_int("layer_id", layers[0], layers[-1], step=steps.pop())
    return trial.suggest_categorical("layer_id", layers)


def _suggest_operator(trial: Trial, config: SteeringConfig) -> Operator:
    if len(config.operators) == 1:
        return config.operators[0]
    operator: Operator = trial.suggest_categorical("operator", config.operators)
    return operator


def _suggest_float(trial: Trial, name: str, span: Range) -> float:
    return trial.suggest_float(name, *span)


def _suggest_dac(trial: Trial, config: SteeringConfig) -> dict[str, Any]:
    threshold = _suggest_float(trial, "entropy_threshold", config.dac_entropy_threshold)
    return {"entropy_threshold": threshold, **_suggest_kl(trial, config)}


def _suggest_kl(trial: Trial, config: SteeringConfig) -> dict[str, Any]:
    return {
        "ptop": _suggest_float(trial, "ptop", config.dac_ptop),
        "max_alpha": _suggest_float(trial, "max_alpha", config.dac_max_alpha),
        "probe_alpha": config.dac_probe_alpha,
        "kl": config.dac_kl,
    }
