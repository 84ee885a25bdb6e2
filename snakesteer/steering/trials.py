"""Trials that no study asks for: what the search space makes of given values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GivenTrial:
    """A trial of which some parameters are given, and the others at the middle of their range.

    Attributes:
        given: By their names.
    """

    given: Mapping[str, Any]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """What is given, or the first choice."""
        return self.given.get(name, choices[0])

    def suggest_float(self, name: str, low: float, high: float) -> float:
        """What is given, or the middle."""
        return float(self.given.get(name, (low + high) / 2.0))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """What is given, or the middle."""
        return int(self.given.get(name, low + (high - low) // step // 2 * step))


@dataclass(frozen=True)
class LargestTrial:
    """A trial that takes the value with one number, and the largest strength.

    Attributes:
        method: Its method.
        number: Of all other values.
    """

    method: str
    number: int

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The method, or the choice with the number."""
        if name == "steering_method":
            return self.method
        return choices[self.number % len(choices)]

    def suggest_float(self, _name: str, low: float, high: float) -> float:
        """The end that is further from 0."""
        return max(high, low, key=abs)

    def suggest_int(self, _name: str, low: int, high: int, *, step: int = 1) -> int:
        """The value with the number."""
        return low + step * (self.number % ((high - low) // step + 1))
