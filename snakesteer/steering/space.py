"""The search space: what a trial chooses, whatever the method."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snakesteer.config import Method, SteeringConfig
from snakesteer.config.catalogue import METHODS, TRAINED
from snakesteer.errors import UserError
from snakesteer.steering.bands import band_from, band_starts, mean_dose
from snakesteer.steering.candidate import Candidate, VectorKey
from snakesteer.steering.kl_unit import KlCurves, suggest_by_kl
from snakesteer.steering.methods import method
from snakesteer.steering.methods.base import Space, Trial, strength_name

if TYPE_CHECKING:  # numpy is not needed where the Snakefile is read
    from snakesteer.steering.vector import AnyVector


def suggest(
    trial: Trial,
    config: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, "AnyVector"],
    curves: KlCurves | None = None,
) -> Candidate:
    """Let a trial choose a configuration; a method's own parameters exist for its trials alone.

    Args:
        trial: Chooses.
        config: What it chooses from.
        layers: The layers to choose from.
        vectors: All vectors.
        curves: Of strengths in nats, where these are the unit.
    """
    name: Method = trial.suggest_categorical("steering_method", config.methods)
    space = Space(name, config, layers, vectors)
    if config.unit == "kl":
        return suggest_by_kl(trial, space, curves)
    return method(name).suggest(trial, space)


def check_parts(config: SteeringConfig, layers: Sequence[int]) -> None:
    """Refuse several vectors of which one belongs to a layer that no vectors are made for.

    Args:
        config: With ``steering.together``, if there is one.
        layers: ``steering.layers``, resolved.

    Raises:
        UserError: Names the part.
    """
    for number, part in enumerate(config.together or ()):
        if part.layer not in layers:
            raise UserError(
                f"steering.together[{number}].layer is {part.layer}, and steering.layers are "
                f"{[*layers]}",
                "Add it to steering.layers: vectors are made for these.",
            )


def unsteered_start(config: SteeringConfig, layers: Sequence[int]) -> dict[str, Any]:
    """Optuna parameters of trial 0: no steering."""
    first = config.methods[0]
    choices = method(first).choices(config, layers)
    return {
        "steering_method": first,
        strength_name(config): 0.0,
        **{name: values[0] for name, values in choices.items()},
    }


def trained_starts(
    config: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, "AnyVector"],
    curves: KlCurves | None = None,
) -> list[dict[str, Any]]:
    """Optuna parameters of vectors as they were trained (α = 1), layer by layer.

    A trained vector says at which strength it is meant to be added, so that a search need not guess
    it. Strengths beyond the configured ones become the largest of these.

    Args:
        config: Methods, directions and strengths.
        layers: The layers to choose from.
        vectors: All vectors.
        curves: Of strengths in nats, where these are the unit.

    Returns:
        Nothing where no vectors are trained, or no method adds them at constant strength.
    """
    adding = [operator for operator in config.operators if operator != "ablate"]
    steady = (
        name
        for name in config.methods
        if METHODS[name].kind == "residual"
        and not method(name).dynamic(config)
        and "layer_id" in method(name).choices(config, layers)
    )
    name = next(steady, None)
    if name is None or TRAINED not in config.directions or not adding:
        return []
    choices = {key: values[0] for key, values in method(name).choices(config, layers).items()}
    if "operator" in choices:
        choices["operator"] = adding[0]
    points = []
    for layer in band_starts(layers, config.band):
        found = [vectors[TRAINED, one] for one in band_from(layers, config.band, layer)]
        as_trained = 1.0 if config.unit == "alpha" else mean_dose(found)
        if curves is not None and config.strength[1] > 0.0:
            key = (name, TRAINED, layer, str(choices.get("operator", adding[0])), 1)
            as_trained = curves.by_key[key].nats_of(as_trained)
        points.append(
            {
                **choices,
                "steering_method": name,
                "steering_direction": TRAINED,
                "layer_id": layer,
                strength_name(config): min(as_trained, config.strength[1]),
            }
        )
    return points
