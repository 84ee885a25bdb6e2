"""Steering methods, one module each; the module's name is the method's.

Nothing has to list the modules: the configuration, the gate, the search, the engines, the controls,
the exports and the report take whatever lies in this folder, and ask it what it is
(docs/new_method.md shows how to add one). A module defines

- its docstring, whose first line describes it in the configuration and in the report;
- ``KIND``: what it steers, ``residual``, ``heads`` or ``prompt_start``;
- ``KEYS``, where it has any: config keys that do nothing without it;
- ``NEEDS``, where it has any: config keys that it cannot do without;
- ``suggest``, ``choices``, ``spans`` and ``dynamic``, see `MethodModule`.

The first three are read without importing the module (`snakesteer.config.catalogue`). A module
imports neither torch nor an engine: it is read with the Snakefile. What it does to a tensor is its
kind's (`snakesteer.steering.residual`, ``heads``, ``prompt_start``).
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from snakesteer.config import Range, SteeringConfig
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods.base import Space, Trial


class MethodModule(Protocol):
    """What a method's module defines."""

    def suggest(self, trial: Trial, space: Space) -> Candidate:
        """Let a trial choose a configuration."""

    def choices(self, config: SteeringConfig, layers: Sequence[int]) -> dict[str, list[object]]:
        """Parameters of `suggest` with a list of values, by name; the first value is the start."""

    def spans(self, config: SteeringConfig) -> dict[str, Range]:
        """Parameters of `suggest` that are numbers, besides the strength: lowest and highest."""

    def dynamic(self, config: SteeringConfig) -> bool:
        """Whether the strength is set anew at every token."""


def method(name: str) -> MethodModule:
    """The module of a method.

    Args:
        name: One of `snakesteer.config.catalogue.METHODS`.
    """
    return cast(MethodModule, import_module(f"{__name__}.{name}"))
