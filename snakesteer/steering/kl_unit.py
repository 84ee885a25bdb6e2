"""Strengths in nats: how strongly something must steer to move the next token so far.

A strength of x nats is the one at which the 95th percentile of KL(unsteered ‖ steered), over tokens
of train texts, is |x|; its sign is the dose's. What dose that is was found beforehand for every
method, direction, layer and operator, and for either sign (`snakesteer.evaluation.kl_strengths`),
at a few strengths. Between these the dose follows the square root of the KL, as it does wherever
doses are small. Imported while the Snakefile is read.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from snakesteer.errors import UserError
from snakesteer.records.files import read_json
from snakesteer.steering.candidate import Candidate
from snakesteer.steering.methods import method
from snakesteer.steering.methods.base import Space, Trial
from snakesteer.steering.trials import GivenTrial

# The name under which a trial chooses a dose.
DOSE_NAME = "steering_dose"
# Of the ends of a range, what counts as inside: they come back from a sampler rounded.
_ROUNDING = 1e-9

# Method, direction, layer, operator, and the sign of the dose.
CurveKey = tuple[str, str, int, str, int]


@dataclass(frozen=True)
class KlCurve:
    """The doses of one sign at which one thing steers by so many nats.

    Attributes:
        nats: Ascending, the first one 0.
        doses: Without their sign, ascending, the first one 0.
    """

    nats: tuple[float, ...]
    doses: tuple[float, ...]

    def dose(self, nats: float) -> float:
        """The dose of so many nats, which is exactly 0 at 0.

        Raises:
            UserError: No dose was looked for that goes so far.
        """
        if nats > self.nats[-1] * (1.0 + _ROUNDING):
            raise UserError(
                f"A strength of {nats:g} nats is beyond those of steering.strength, of which the "
                f"largest of this sign is {self.nats[-1]:g}",
                "With steering.unit: kl, name strengths within steering.strength "
                "(sensitivity.strengths, too).",
            )
        return _between(self.nats, self.doses, nats, math.sqrt)

    def nats_of(self, dose: float) -> float:
        """How many nats a dose is; those of the largest one where it goes further."""
        root = _between(self.doses, tuple(map(math.sqrt, self.nats)), dose, float)
        return root * root


@dataclass(frozen=True)
class KlCurves:
    """The curves of everything that a search steers with.

    Attributes:
        by_key: The curves.
    """

    by_key: Mapping[CurveKey, KlCurve]

    def dose(self, candidate: Candidate, nats: float) -> float:
        """The signed dose at which a configuration steers by so many nats."""
        if nats == 0.0:
            return 0.0
        return math.copysign(self._curve(candidate, nats).dose(abs(nats)), nats)

    def nats(self, candidate: Candidate) -> float:
        """How many nats a configuration's dose is, at most as many as were looked for."""
        if candidate.dose == 0.0:
            return 0.0
        found = self._curve(candidate, candidate.dose).nats_of(abs(candidate.dose))
        return math.copysign(found, candidate.dose)

    def _curve(self, candidate: Candidate, signed: float) -> KlCurve:
        key = key_of_curve(candidate, 1 if signed > 0.0 else -1)
        if key not in self.by_key:
            raise UserError(
                f"There is no strength in nats for {candidate.method} with {candidate.direction} "
                f"at layer {candidate.layer}, sign {key[-1]:+d}",
                "With steering.unit: kl, name methods and strengths that steering.methods and "
                "steering.strength have (sensitivity.methods, too).",
            )
        return self.by_key[key]


def key_of_curve(candidate: Candidate, sign: int) -> CurveKey:
    """What a configuration's curve goes by."""
    return candidate.method, candidate.direction, candidate.layer, candidate.operator, sign


def read_curves(files: Sequence[str | Path]) -> KlCurves | None:
    """Read kl_strengths.json; None where there is none, as strengths are in another unit.

    Args:
        files: Its path, or nothing.
    """
    if not files:
        return None
    [path] = files
    return curves_of(read_json(path))


def curves_of(record: Mapping[str, Any]) -> KlCurves:
    """The curves in kl_strengths.json."""
    return KlCurves(
        {
            (one["method"], one["direction"], one["layer"], one["operator"], one["sign"]): KlCurve(
                (0.0, *one["nats"]), (0.0, *one["doses"])
            )
            for one in record["curves"]
        }
    )


def suggest_by_kl(trial: Trial, space: Space, curves: KlCurves | None) -> Candidate:
    """Let a trial choose a configuration whose strength is in nats.

    The method chooses as if nats were a dose; then, with all that it chose, at the dose that these
    nats are.
    """
    if curves is None:
        raise ValueError("strengths in nats need their curves")
    in_doses = replace(space, config=space.config.model_copy(update={"unit": "dose"}))
    noted = _InNats(trial)
    chosen = method(space.method).suggest(noted, in_doses)
    nats = noted.chosen[DOSE_NAME]
    given = GivenTrial({**noted.chosen, DOSE_NAME: curves.dose(chosen, nats)})
    return replace(method(space.method).suggest(given, in_doses), nats=nats)


@dataclass(frozen=True)
class _InNats:
    """A trial whose dose is called ``steering_kl``; keeps what it chose."""

    trial: Trial
    chosen: dict[str, Any] = field(default_factory=dict)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._noted(name, self.trial.suggest_categorical(name, choices))

    def suggest_float(self, name: str, low: float, high: float) -> float:
        asked = "steering_kl" if name == DOSE_NAME else name
        return float(self._noted(name, self.trial.suggest_float(asked, low, high)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return int(self._noted(name, self.trial.suggest_int(name, low, high, step=step)))

    def _noted(self, name: str, value: Any) -> Any:
        self.chosen[name] = value
        return value


def _between(
    known: Sequence[float],
    values: Sequence[float],
    at: float,
    scale: Callable[[float], float],
) -> float:
    """Values in straight lines over a scale of what is known, which ascends from 0."""
    after = min(max(bisect_left(known, at), 1), len(known) - 1)
    low, high = map(scale, known[after - 1 : after + 1])
    # Of two equal doses, where the KL leaps, the further one counts.
    share = min((scale(at) - low) / (high - low), 1.0) if high > low else 1.0
    return values[after - 1] + share * (values[after] - values[after - 1])
