"""Strengths in nats, found on train texts: see `snakesteer.steering.kl_unit`.

KL need not grow with the dose everywhere: it levels off, and falls where steering has broken the
model. So nothing is taken for granted beyond a first crossing. From the dose of the strength before
(0 at first) the dose is doubled until the KL is large enough; in between it is found by bisection.
Doses therefore grow with the strength, and no dose that was tried below them goes as far.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from snakesteer.config import Range, SteeringConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.reference.forced import FORCED_TOKENS, GivenText, reaches
from snakesteer.errors import UserError
from snakesteer.evaluation.token_kl import TokenKl
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate, VectorKey
from snakesteer.steering.kl_unit import DOSE_NAME, key_of_curve
from snakesteer.steering.methods import method
from snakesteer.steering.methods.base import Space
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.trials import GivenTrial
from snakesteer.steering.vector import AnyVector

logger = logging.getLogger(__name__)

# Share of all tokens that stay below the strength.
QUANTILE = 0.95
# Train problems that are read, and how many tokens of their solutions at most.
TEXTS, SOLUTION_TOKENS = 8, 32
# Shares of the largest strength whose dose is found. Doses follow the root of the KL, so that they
# lie evenly.
SHARES = tuple((step / 4) ** 2 for step in range(1, 5))
# The smallest dose that is tried, and the largest: ten times the residual stream.
FIRST_DOSE, LAST_DOSE = 0.005, 10.24
# How near the KL must come, as a share of it, and how near doses may come where it leaps.
NEAR, NEAREST_DOSES = 0.01, 1e-4
# Bisection that goes by the root of the KL cuts off at least so much of a bracket.
_LEAST = 0.1


def calibration_texts(
    prompter: Prompter, problems: Sequence[Problem], context: int | None
) -> list[GivenText]:
    """Train prompts with the gold solutions behind them, as if these had been generated.

    Args:
        prompter: Of the run.
        problems: Of the train split, few-shot examples left out; the first ones are taken.
        context: Of the model.
    """
    texts = []
    for problem in problems[:TEXTS]:
        response = prompter.response(problem.answer)
        ids, before = prompter.with_response(problem.question, response)
        end = min(before + SOLUTION_TOKENS, context or len(ids))
        texts.append(GivenText(ids[:end], before))
    return texts


def kl_strengths(
    loaded: LoadedModel,
    texts: Sequence[GivenText],
    config: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, AnyVector],
) -> dict[str, Any]:
    """The content of kl_strengths.json: the curves of everything that a search steers with.

    A dynamic strength is taken at α_t = 1, as its dose is.

    Args:
        loaded: The model.
        texts: From `calibration_texts`.
        config: The space, with its strengths in nats.
        layers: Layers to choose from.
        vectors: All vectors.

    Raises:
        UserError: Something never steers so far, or never so little.
    """
    measured = TokenKl(loaded, texts, FORCED_TOKENS)
    known: dict[Candidate, float] = {}  # dynamic strengths are constant ones here
    curves = []
    for of_dose, sign, largest in _wanted(config, layers, vectors):
        one = of_dose(sign * FIRST_DOSE)
        _, direction, layer, operator, _ = key_of_curve(one, sign)
        _check_reached(loaded, texts, one, vectors)

        def kl(
            dose: float, of_dose: Callable[[float], Candidate] = of_dose, sign: int = sign
        ) -> float:
            candidate = _constant(of_dose(sign * dose))
            if candidate not in known:
                known[candidate] = _kl(measured, candidate, vectors)
            return known[candidate]

        nats = [share * largest for share in SHARES]
        what = f"{one.method} with {direction} at layer {layer} ({operator}, sign {sign:+d})"
        found = doses_at(kl, nats, what)
        logger.info("%s: %.3g nats are a dose of %.3g", what, nats[-1], found[-1][0])
        curves.append(
            {
                "method": one.method,
                "direction": direction,
                "layer": layer,
                "operator": operator,
                "sign": sign,
                "nats": nats,
                "doses": [dose for dose, _ in found],
                "alphas": [of_dose(sign * dose).alpha for dose, _ in found],
                "measured": [value for _, value in found],
            }
        )
    return {
        "quantile": QUANTILE,
        "texts": len(texts),
        "tokens": sum(len(text.generated) for text in texts),
        "curves": curves,
    }


def _check_reached(
    loaded: LoadedModel,
    texts: Sequence[GivenText],
    candidate: Candidate,
    vectors: Mapping[VectorKey, AnyVector],
) -> None:
    steering = steering_of(candidate, vectors)
    assert steering is not None  # a dose that is not 0
    if not reaches(loaded, texts, steering):
        raise UserError(
            "steering.unit is 'kl', but steering.scope steers none of the tokens on which doses "
            f"are found, the first {SOLUTION_TOKENS} of {len(texts)} train solutions",
            "Use steering.unit: dose, or another scope.",
        )


def doses_at(
    kl: Callable[[float], float], nats: Sequence[float], what: str
) -> list[tuple[float, float]]:
    """Doses at which a KL is first reached, with the KL that was measured there.

    Args:
        kl: Of a positive dose.
        nats: Ascending.
        what: Is steered with, for messages.

    Raises:
        UserError: No dose that is tried goes so far, or any goes further.
    """
    found = []
    low, at_low = 0.0, 0.0
    ahead = (FIRST_DOSE, kl(FIRST_DOSE))
    for wanted in nats:
        while ahead[1] < wanted:
            if ahead[0] >= LAST_DOSE:
                raise UserError(
                    f"steering.strength asks for {wanted:g} nats, but {what} makes "
                    f"{ahead[1]:.3g} at a dose of {ahead[0]:g}",
                    "Lower steering.strength, or use steering.unit: dose.",
                )
            low, at_low = ahead
            ahead = (2.0 * ahead[0], kl(2.0 * ahead[0]))
        low, at_low = _crossing(kl, wanted, (low, at_low), ahead)
        if low == 0.0:
            raise UserError(
                f"steering.unit is 'kl', but {what} makes more than {wanted:g} nats at any dose",
                "Use steering.unit: dose for it, or raise steering.strength.",
            )
        found.append((low, at_low))
    return found


def _crossing(
    kl: Callable[[float], float],
    wanted: float,
    low: tuple[float, float],
    high: tuple[float, float],
) -> tuple[float, float]:
    """A dose between two at which the KL is what is wanted, with the KL there.

    The KL is too small at the first one and large enough at the other, so that there is one; where
    it leaps, the dose below the leap. A bracket is cut where the root of the KL would be, if that
    went straight, and never near its ends.
    """
    if high[1] <= wanted * (1.0 + NEAR):
        return high
    while high[0] - low[0] > NEAREST_DOSES * max(high[0], FIRST_DOSE):
        ends = math.sqrt(low[1]), math.sqrt(high[1])
        share = (math.sqrt(wanted) - ends[0]) / (ends[1] - ends[0])
        share = min(max(share, _LEAST), 1.0 - _LEAST)
        dose = low[0] + share * (high[0] - low[0])
        middle = (dose, kl(dose))
        if abs(middle[1] - wanted) <= NEAR * wanted:
            return middle
        low, high = (middle, high) if middle[1] < wanted else (low, middle)
    return low


def _constant(candidate: Candidate) -> Candidate:
    """What steers the residual stream as a dynamic strength does at α_t = 1; others as they are."""
    if candidate.kind != "residual" or not candidate.dynamic:
        return candidate
    return Candidate(
        "caa",
        candidate.direction,
        candidate.layer,
        candidate.alpha,
        candidate.dose,
        "from_last_prompt_token",
        band_layers=candidate.band_layers,
        band_alphas=candidate.band_alphas,
    )


def _kl(measured: TokenKl, candidate: Candidate, vectors: Mapping[VectorKey, AnyVector]) -> float:
    """What a configuration does on the texts; without end where it breaks the model's numbers."""
    steering = steering_of(candidate, vectors)
    assert steering is not None  # a dose that is not 0
    if not isinstance(steering, PromptStartSteering) and steering.dac is not None:
        steering = steering.at_constant(1.0)
    found = measured.quantile(steering, QUANTILE)
    return found if math.isfinite(found) else math.inf


def _wanted(
    config: SteeringConfig, layers: Sequence[int], vectors: Mapping[VectorKey, AnyVector]
) -> Iterator[tuple[Callable[[float], Candidate], int, float]]:
    """What a search steers with: a configuration by its dose, a sign, and the largest strength."""
    in_doses = config.model_copy(update={"unit": "dose"})
    for name in config.methods:
        choices = method(name).choices(in_doses, layers)
        space = Space(name, in_doses, layers, vectors)
        for values in itertools.product(*choices.values()):
            given = dict(zip(choices, values, strict=True))

            def of_dose(
                dose: float, given: Mapping[str, Any] = given, space: Space = space
            ) -> Candidate:
                trial = GivenTrial({**given, DOSE_NAME: dose})
                return method(space.method).suggest(trial, space)

            for sign, largest in _sides(config.strength):
                yield of_dose, sign, largest


def _sides(strength: Range) -> Iterator[tuple[int, float]]:
    """The signs that a range has, with the largest strength of each."""
    low, high = strength
    if high > 0.0:
        yield 1, high
    if low < 0.0:
        yield -1, -low
