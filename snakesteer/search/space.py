"""The search space: what a trial chooses, and the steering that it stands for."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from snakesteer.any_vector import ALL_LAYERS, AnyVector, VectorKey
from snakesteer.config import (
    HEAD_METHODS,
    After,
    Direction,
    Kl,
    Method,
    Operator,
    Range,
    Schedule,
    Scope,
    SteeringConfig,
)
from snakesteer.head_steering import AnySteering, HeadSteering
from snakesteer.head_vectors import HeadVector
from snakesteer.search.bands import band_from, band_starts
from snakesteer.steering import Dac, Place, Steering
from snakesteer.vectors import Vector

# Names that results use for a configuration; those of DAC exist for DAC alone, the operator where
# it is not ``add``, and those of a band where it has several layers. The direction of ActAdd is its
# own, its scope ``prompt_start``. Where attention heads are
# steered, of all layers, the direction is the method's own, the layer is the one whose probe
# results report, and the scope is the schedule.
PARAM_NAMES = (
    "steering_method",
    "steering_direction",
    "layer_id",
    "steering_alpha",
    "steering_dose",
    "scope",
    "first_k",
    "entropy_threshold",
    "ptop",
    "max_alpha",
    "probe_alpha",
    "operator",
    "band_layers",
    "band_alphas",
    "dac_kl",
    "heads_after",
)

# What a trial keeps beside these: the number of layers that have its dose.
STEERED_LAYERS = "steered_layers"

_NO_THRESHOLD = -1.0  # no entropy is below it


class Trial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of several values."""

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """Choose a number in a closed interval."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Choose a whole number."""


@dataclass(frozen=True)
class Candidate:
    """One steering configuration: everything but the vector's numbers.

    Attributes:
        method: How it steers.
        direction: Which vector; the method itself where it steers attention heads.
        layer: 0-based block; where attention heads are steered, that of the probe.
        alpha: Strength as a factor on the raw vector.
        dose: The same strength in mean residual norms.
        scope: Positions that CAA steers.
        first_k: For scope ``first_k``.
        entropy_threshold: DAC only.
        ptop: DAC in both forms.
        max_alpha: DAC in both forms.
        probe_alpha: DAC in both forms.
        operator: What the vector does.
        band_layers: All layers that are steered, where they are several.
        band_alphas: Their strengths.
        kl: DAC in both forms.
        schedule: Attention heads only.
        after: Attention heads only.
    """

    method: Method
    direction: Direction
    layer: int
    alpha: float
    dose: float
    scope: Scope
    first_k: int | None = None
    entropy_threshold: float | None = None
    ptop: float | None = None
    max_alpha: float | None = None
    probe_alpha: float | None = None
    operator: Operator = "add"
    band_layers: tuple[int, ...] = ()
    band_alphas: tuple[float, ...] = ()
    kl: Kl = "true_kl"
    schedule: Schedule | None = None
    after: After | None = None

    def params(self) -> dict[str, Any]:
        """The configuration under the names that results use."""
        own_scope = {"dac": "dynamic", "actadd": "prompt_start"}.get(self.method, self.scope)
        values = (
            self.method,
            self.direction,
            self.layer,
            self.alpha,
            self.dose,
            self.schedule or own_scope,
            self.first_k,
            self.entropy_threshold,
            self.ptop,
            self.max_alpha,
            self.probe_alpha,
            None if self.operator == "add" else self.operator,
            list(self.band_layers) or None,
            list(self.band_alphas) or None,
            None if self.kl == "true_kl" else self.kl,
            self.after,
        )
        named = zip(PARAM_NAMES, values, strict=True)
        return {name: value for name, value in named if value is not None}

    @property
    def vector_keys(self) -> list[VectorKey]:
        """The vectors that `steering` needs."""
        if self.method in HEAD_METHODS:
            return [(self.method, ALL_LAYERS)]
        return [(self.direction, layer) for layer in self.band_layers or (self.layer,)]

    def steered_layers(self, vectors: Mapping[VectorKey, AnyVector]) -> int:
        """The number of layers that are steered, each at the dose."""
        keys = self.vector_keys
        first = vectors[keys[0]]
        return len(first.steered_layers) if isinstance(first, HeadVector) else len(keys)

    def steering(self, vectors: Mapping[VectorKey, AnyVector]) -> AnySteering | None:
        """What an engine needs; None where α is 0, which is the unsteered model."""
        if self.alpha == 0.0:
            return None
        if self.method in HEAD_METHODS:
            return self._head_steering(vectors[self.method, ALL_LAYERS])
        alphas = self.band_alphas or (self.alpha,)
        first, *more = (
            self._place(key[1], vectors[key], alpha)
            for key, alpha in zip(self.vector_keys, alphas, strict=True)
        )
        return Steering(
            layer=first.layer,
            vector=first.vector,
            alpha=first.alpha,
            scope=self.scope,
            first_k=self.first_k,
            dac=self._dac() if self.method == "dac" else None,
            operator=self.operator,
            more=tuple(more),
        )

    def _head_steering(self, vector: AnyVector) -> HeadSteering:
        if not isinstance(vector, HeadVector) or self.schedule is None or self.after is None:
            raise ValueError(f"no configuration of attention heads: {self}")
        layers = vector.steered_layers
        return HeadSteering(
            layers=layers,
            delta=torch.from_numpy(vector.delta[:, list(layers)]),
            alpha=self.alpha,
            schedule=self.schedule,
            after=self.after,
            dac=self._dac() if self.schedule == "dynamic" else None,
        )

    def _place(self, layer: int, vector: AnyVector, alpha: float) -> Place:
        assert isinstance(vector, Vector)
        # The angle of a rotation is the dose, in radians.
        strength = vector.dose(alpha) if self.operator == "angular" else alpha
        return Place(layer, torch.from_numpy(vector.raw), strength)

    def _dac(self) -> Dac:
        # The published form, that of attention heads, has no threshold.
        threshold = self.entropy_threshold if self.method == "dac" else _NO_THRESHOLD
        values = (threshold, self.ptop, self.max_alpha, self.probe_alpha)
        given = [value for value in values if value is not None]
        if len(given) != len(values):
            raise ValueError(f"a DAC configuration lacks a parameter: {self}")
        threshold, ptop, max_alpha, probe_alpha = given
        return Dac(threshold, ptop, max_alpha, probe_alpha, self.kl)


def candidate_from_params(params: Mapping[str, Any]) -> Candidate:
    """The inverse of `Candidate.params`."""
    caa = params["steering_method"] == "caa"
    heads = params["steering_method"] in HEAD_METHODS
    return Candidate(
        method=params["steering_method"],
        direction=params["steering_direction"],
        layer=params["layer_id"],
        alpha=params["steering_alpha"],
        dose=params["steering_dose"],
        scope=params["scope"] if caa else "from_last_prompt_token",
        first_k=params.get("first_k"),
        entropy_threshold=params.get("entropy_threshold"),
        ptop=params.get("ptop"),
        max_alpha=params.get("max_alpha"),
        probe_alpha=params.get("probe_alpha"),
        operator=params.get("operator", "add"),
        band_layers=tuple(params.get("band_layers", ())),
        band_alphas=tuple(params.get("band_alphas", ())),
        kl=params.get("dac_kl", "true_kl"),
        schedule=params["scope"] if heads else None,
        after=params.get("heads_after"),
    )


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
