"""What the methods of a kind have in common: how a trial chooses layer, strength and vectors."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from snakesteer.config import After, Direction, Range, Schedule, SteeringConfig
from snakesteer.config.catalogue import TRAINED
from snakesteer.steering.bands import band_from, band_starts, mean_dose
from snakesteer.steering.candidate import ALL_LAYERS, Candidate, VectorKey

if TYPE_CHECKING:  # numpy is not needed where the Snakefile is read
    from snakesteer.steering.vector import AnyVector


class Trial(Protocol):
    """The part of an Optuna trial that a method needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of several values."""

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """Choose a number in a closed interval."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Choose a whole number."""


@dataclass(frozen=True)
class Space:
    """What a method's trials choose from.

    Attributes:
        method: The method's name.
        config: Ranges and choices.
        layers: Layers to choose from.
        vectors: All vectors.
    """

    method: str
    config: SteeringConfig
    layers: Sequence[int]
    vectors: Mapping[VectorKey, "AnyVector"]


def strength_name(config: SteeringConfig) -> str:
    """The searched parameter: ``steering_alpha`` or ``steering_dose``."""
    return f"steering_{config.unit}"


def suggest_direction(trial: Trial, space: Space) -> Direction:
    """One of the configured directions."""
    direction: Direction = trial.suggest_categorical("steering_direction", space.config.directions)
    return direction


def suggest_layered(trial: Trial, space: Space, direction: Direction, band: int = 1) -> Candidate:
    """A configuration that steers one layer, or a band of them, with vectors of a direction."""
    config = space.config
    layer = _suggest_layer(trial, band_starts(space.layers, band))
    strength = suggest_float(trial, strength_name(config), config.strength)
    in_alpha = config.unit == "alpha"
    layers = band_from(space.layers, band, layer)
    found = [space.vectors[direction, one] for one in layers]
    if direction == TRAINED and not in_alpha:
        # Trained together, they keep their proportions: the dose is that of their mean.
        alphas = (strength / mean_dose(found),) * len(found)
    else:
        alphas = tuple(strength if in_alpha else vector.alpha(strength) for vector in found)
    return Candidate(
        method=space.method,
        direction=direction,
        layer=layer,
        alpha=alphas[0],
        dose=found[0].dose(strength) if in_alpha else strength,
        scope="from_last_prompt_token",
        band_layers=layers if len(layers) > 1 else (),
        band_alphas=alphas if len(layers) > 1 else (),
    )


def suggest_heads(trial: Trial, space: Space, schedule: Schedule, after: After) -> Candidate:
    """A configuration that steers attention heads, of all layers that the method steers."""
    config = space.config
    vector = space.vectors[space.method, ALL_LAYERS]
    strength = suggest_float(trial, strength_name(config), config.strength)
    in_alpha = config.unit == "alpha"
    return Candidate(
        method=space.method,
        direction=space.method,
        layer=space.layers[0],
        alpha=strength if in_alpha else vector.alpha(strength),
        dose=vector.dose(strength) if in_alpha else strength,
        scope="from_last_prompt_token",
        schedule=schedule,
        after=after,
    )


def suggest_kl(trial: Trial, config: SteeringConfig, alpha: float) -> dict[str, Any]:
    """The parameters of a dynamic strength, as attributes of a `Candidate`.

    Args:
        trial: Chooses.
        config: Ranges, and how strong the probe is.
        alpha: The trial's strength. The probe has its sign and scale, so that it says how much this
            trial's steering would change, whatever the length of its vector.
    """
    chosen = {name: suggest_float(trial, name, span) for name, span in kl_spans(config).items()}
    return {**chosen, "probe_alpha": config.dac_probe * alpha, "kl": config.dac_kl}


def suggest_float(trial: Trial, name: str, span: Range) -> float:
    """A number in a closed interval."""
    return trial.suggest_float(name, *span)


def kl_spans(config: SteeringConfig) -> dict[str, Range]:
    """The searched ones of these parameters."""
    return {"ptop": config.dac_ptop, "max_alpha": config.dac_max_alpha}


def directed_choices(config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[Any]]:
    """The direction, and the layer or the first one of a band."""
    return {
        "steering_direction": [*config.directions],
        "layer_id": band_starts(layers, config.band),
    }


def _suggest_layer(trial: Trial, layers: Sequence[int]) -> int:
    """Evenly spaced layers keep their order for the sampler; others are categories."""
    steps = {b - a for a, b in itertools.pairwise(layers)}
    if len(steps) == 1:
        return trial.suggest_int("layer_id", layers[0], layers[-1], step=steps.pop())
    return trial.suggest_categorical("layer_id", layers)
