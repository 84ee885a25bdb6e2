"""Add α·v to the residual stream, at constant strength.

Contrastive activation addition: Rimsky et al. 2023, "Steering Llama 2 via Contrastive Activation
Addition" (arXiv 2312.06681). Here v may be of any direction, steer a band of layers, and do
something else than be added (`snakesteer.steering.operators`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snakesteer.config import GateConfig, Operator, Range, SettledGate, SteeringConfig
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods.base import (
    Space,
    Trial,
    directed_choices,
    suggest_direction,
    suggest_layered,
)

KIND = "residual"
KEYS = ("steering.scope", "steering.operators", "steering.gates")


def suggest(trial: Trial, space: Space) -> Candidate:
    """Direction, layer, strength, and operator and gate where there are several."""
    config = space.config
    candidate = suggest_layered(trial, space, suggest_direction(trial, space), config.band)
    candidate = replace(
        candidate,
        scope=config.scope,
        first_k=config.first_k,
        generated_window=config.generated_window,
        at_tokens=config.at_tokens,
        operator=_suggest_operator(trial, config),
        gate=_suggest_gate(trial, config),
    )
    return _in_shares(candidate, config) if candidate.operator == "ablate" else candidate


def choices(config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[Any]]:
    """Direction, layer, and operator and gate where there are several."""
    operators = {"operator": [*config.operators]} if len(config.operators) > 1 else {}
    gates = {"gate": _gate_names(config)} if len(config.gates) > 1 else {}
    return {**directed_choices(config, layers), **operators, **gates}


def spans(config: SteeringConfig) -> dict[str, Range]:
    """None."""
    return {}


def dynamic(config: SteeringConfig) -> bool:
    """No."""
    return False


def _in_shares(candidate: Candidate, config: SteeringConfig) -> Candidate:
    """The strength as the share that is removed, at all layers: it has no length to convert."""
    share = candidate.alpha if config.unit == "alpha" else candidate.dose
    alphas = (share,) * len(candidate.band_alphas)
    return replace(candidate, alpha=share, dose=share, band_alphas=alphas)


def _suggest_operator(trial: Trial, config: SteeringConfig) -> Operator:
    if len(config.operators) == 1:
        return config.operators[0]
    operator: Operator = trial.suggest_categorical("operator", config.operators)
    return operator


def _gate_names(config: SteeringConfig) -> list[str]:
    return [gate.name if isinstance(gate, GateConfig) else gate for gate in config.gates]


def _suggest_gate(trial: Trial, config: SteeringConfig) -> SettledGate | None:
    names, chosen = _gate_names(config), config.gates[0]
    if len(names) > 1:
        chosen = config.gates[names.index(trial.suggest_categorical("gate", names))]
    if isinstance(chosen, str):
        return None
    assert isinstance(chosen, SettledGate)  # thresholds are known before there is a trial
    return chosen
