"""A run's config as its rules take it: checked, and with all that follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snakesteer.config import Config, EngineConfig
from snakesteer.config.catalogue import of_kind
from snakesteer.config.layers import settled_layers
from snakesteer.config.load import load_config
from snakesteer.models.depth import depth_before_download
from snakesteer.search.grid import check_sampler
from snakesteer.steering.space import check_parts


@dataclass(frozen=True)
class Settled:
    """What follows from a config before anything has been run.

    Attributes:
        config: The typed config, with the band settled.
        layers: Decoder blocks that may be steered.
        engine: The engine section of all answers that are compared: one for the whole run.
        compile_refused: Whether the config asks for compiled code that the run cannot have.
        planned_tokens: Tokens to decode in search and test, which set the number of slots.
    """

    config: Config
    layers: list[int]
    engine: EngineConfig
    compile_refused: bool
    planned_tokens: int


def settle(values: Mapping[str, Any]) -> Settled:
    """Settle a config.

    Args:
        values: The merged YAML.

    Raises:
        UserError: See `load_config`, `settled_layers`, `check_sampler` and `check_parts`.
    """
    config = load_config(values)
    steering, layers = settled_layers(config.steering, depth_before_download(config.model))
    config = config.model_copy(update={"steering": steering})
    check_sampler(config.search, steering, layers)
    check_parts(steering, layers)
    # Compiled code may round differently where it has operators, bands, several vectors or heads.
    adds_once = (steering.operators, steering.band) == (["add"], 1) and steering.together is None
    plain = adds_once and not of_kind("heads", steering.methods)
    not_compiled = config.model.device != "cpu" and not plain
    return Settled(
        config=config,
        layers=layers,
        engine=config.engine.model_copy(update={"compile": "never"} if not_compiled else {}),
        compile_refused=not_compiled and config.engine.compile == "always",
        planned_tokens=config.generation.max_new_tokens
        * (config.search.n_trials * config.data.val + 2 * config.data.test),
    )
