"""The search space: what a trial chooses, whatever the method."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snakesteer.config import Method, SteeringConfig
from snakesteer.steering.candidate import Candidate, VectorKey
from snakesteer.steering.methods import method
from snakesteer.steering.methods.base import Space, Trial, strength_name

if TYPE_CHECKING:  # numpy is not needed where the Snakefile is read
    from snakesteer.steering.vector import AnyVector


def suggest(
    trial: Trial,
    config: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, "AnyVector"],
) -> Candidate:
    """Let a trial choose a configuration; a method's own parameters exist for its trials alone."""
    name: Method = trial.suggest_categorical("steering_method", config.methods)
    return method(name).suggest(trial, Space(name, config, layers, vectors))


def unsteered_start(config: SteeringConfig, layers: Sequence[int]) -> dict[str, Any]:
    """Optuna parameters of trial 0: no steering."""
    first = config.methods[0]
    choices = method(first).choices(config, layers)
    return {
        "steering_method": first,
        strength_name(config): 0.0,
        **{name: values[0] for name, values in choices.items()},
    }
