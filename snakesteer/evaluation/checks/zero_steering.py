"""The gate before a search: hooks at strength 0 do nothing, and otherwise exactly what they should.

First, every kind of steering in the search answers validation prompts at α = 0 with its hooks on,
and the same engine answers them with no hook registered at all: token ids and logits must be equal,
bit for bit. That alone would pass hooks that never do anything, or that sit at a wrong position.
So, second, each kind of steering answers a prompt at a strength of the search, and what its hooks
change is measured at every layer and position: α·v (or what the operator makes of it) where it
belongs, and not one bit anywhere else.

All of that compares an engine with itself. So, third, the logits of that prompt's answers, without
steering and under each kind of it, are compared with those of the plain HuggingFace model, which
reads prompt and answer without an engine. They may be as far from its logits in float32 as rounding
explains: in reduced precision, three times as far as the model's own in that precision are.

An engine that does not promise bits (vLLM, outside its batch-invariant mode) is held to the same
distance where the first comparison asks for equality, and the share of equal tokens is recorded.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snakesteer.config import SteeringConfig
from snakesteer.engine.interface import Generation, Request
from snakesteer.engine.select import promises_bits
from snakesteer.engine.watch import Stream, Watch, WatchedEngine
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.hook_effects import Effects, effects, likely_cause, sites_of
from snakesteer.evaluation.checks.looks import looks
from snakesteer.evaluation.checks.plain_model import (
    PlainComparison,
    PlainModel,
    dynamic_strengths,
)
from snakesteer.evaluation.checks.same_answers import AnswerDifference, answer_difference, nearly
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate, VectorKey
from snakesteer.steering.kinds import Steering
from snakesteer.steering.kl_unit import KlCurves
from snakesteer.steering.residual import Sites
from snakesteer.steering.space import suggest
from snakesteer.steering.trials import LargestTrial
from snakesteer.steering.vector import AnyVector

logger = logging.getLogger(__name__)

_NAMED = 3  # prompts that a message names; the log has all


@dataclass(frozen=True, eq=False)
class GateCase:
    """One kind of steering in the search, at a strength that is not 0.

    Attributes:
        name: For results.
        candidate: The configuration.
        steering: What the engine needs. Where the strength is dynamic, every step is steered. For
            windows, scopes by token and gates see `looks`.
    """

    name: str
    candidate: Candidate
    steering: Steering


def gate_cases(
    config: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, AnyVector],
    curves: KlCurves | None = None,
) -> list[GateCase]:
    """What the search steers with: every method, with every operator and gate that it has.

    They take turns at directions and layers.
    """
    kinds: dict[str, GateCase] = {}
    choices = itertools.product(
        config.methods, range(len(config.operators)), range(len(config.gates))
    )
    for method, operator, gate in choices:
        # Operators come in turn, whatever the number that they begin with.
        number = len(kinds) if len(config.operators) == 1 else operator
        candidate = suggest(LargestTrial(method, number, gate), config, layers, vectors, curves)
        name = candidate.method
        if candidate.operator != "add":
            name += f" {candidate.operator}"
        if candidate.gate is not None:
            name += f" gate {candidate.gate.name}"
        steering = steering_of(candidate, vectors)
        assert steering is not None  # a range of strengths is wider than 0
        if steering.dac is not None:
            always = replace(steering.dac, entropy_threshold=-1.0, ptop=1.0)
            steering = replace(steering, dac=always)
        kinds.setdefault(name, GateCase(name, candidate, steering))
    return list(kinds.values())


def check_zero_steering(
    make_engine: Callable[[bool], WatchedEngine],
    loaded: LoadedModel,
    requests: Mapping[str, Request],
    kinds: Sequence[GateCase],
    compiled: bool = False,
) -> dict[str, Any]:
    """Run the gate.

    A compiled step fuses hooks with what is around them, so that its last bits need not be those of
    a step without hooks. Where the run compiles, the plain step is compared with and without hooks,
    and the compiled one at α = 0 and without steering, which is what a search compares.

    Args:
        make_engine: Makes an engine of the run's settings, compiled or not.
        loaded: The model.
        requests: Unsteered, by the names of their problems.
        kinds: What the search steers with.
        compiled: Whether the run compiles its engine's step.

    Returns:
        Kind of steering → what was compared and measured, for the record.

    Raises:
        UserError: The gate is closed. Names prompts, positions and the likely cause.
    """
    gate = _Gate(make_engine, loaded, requests, compiled)
    # Measured first: it names the cause where hooks make the model fail.
    measured = {kind.name: gate.measure(kind.name, kind.steering) for kind in kinds}
    unsteered = gate.compare_with_plain("no steering", None)
    gate.tolerance = unsteered["plain_model"]["bound"]
    found = {"no steering": {**gate.compare("no steering", None), **unsteered}}
    for kind in kinds:
        found[kind.name] = {
            "configuration": kind.candidate.params(),
            **gate.compare(kind.name, kind.steering.off),
            **measured[kind.name],
        }
    if gate.faults:
        raise _closed(gate.faults)
    return found


def _closed(faults: Sequence[str]) -> UserError:
    return UserError(
        "The zero-steering gate is closed, as the engine does not do exactly what it should. "
        + "; ".join(faults),
        "No search is run with such an engine: undo what was changed in snakesteer/engine or "
        "snakesteer/steering, or set "
        "engine.name: reference. The log names all prompts and places.",
    )


class _Gate:
    """Engines, answers to compare with, and the faults found so far."""

    def __init__(
        self,
        make_engine: Callable[[bool], WatchedEngine],
        loaded: LoadedModel,
        requests: Mapping[str, Request],
        compiled: bool,
    ) -> None:
        self.make_engine = make_engine
        self.loaded = loaded
        self.requests = requests
        self.faults: list[str] = []
        bare = _answers(self._engine(Watch(loaded, hooks=False)), requests.values())
        self.runs = [("", self._engine(Watch(loaded)), bare)]
        if compiled:
            torch.compiler.reset()  # what was compiled without hooks would be taken with them
            engine = self._engine(Watch(loaded), compiled=True)
            self.runs.append(("compiled_", engine, _answers(engine, requests.values())))
        # Where effects are measured: many steps, and many positions before them.
        self.example_name, self.example, longest = max(
            zip(requests, requests.values(), bare, strict=True),
            key=lambda one: (one[2].generation.num_tokens, len(one[1].prompt_ids)),
        )
        self.read = longest.generation.token_ids[: longest.generation.num_tokens - 1]
        # Whose output is changed → engine whose hooks are watched there.
        self._looking: dict[Sites, WatchedEngine] = {}
        self._plain = PlainModel(loaded, self.example.prompt_ids)
        self.exact = promises_bits(self.runs[0][1])
        self.tolerance = 0.0  # where bits are not promised: what rounding explains

    def compare(self, name: str, off: Steering | None) -> dict[str, Any]:
        """Compare answers at α = 0, hooks on, with those that they must equal."""
        record: dict[str, Any] = {}
        for label, engine, wanted in self.runs:
            steered = [replace(request, steering=off) for request in self.requests.values()]
            pairs = zip(wanted, _answers(engine, steered), strict=True)
            found = dict(zip(self.requests, itertools.starmap(_difference, pairs), strict=True))
            different = {problem: one for problem, one in found.items() if one is not None}
            record[f"{label}tokens_equal"] = all(one.tokens_equal for one in different.values())
            record[f"{label}max_logit_difference"] = max(
                (one.size for one in different.values()), default=0.0
            )
            if not self.exact:
                record |= nearly(different.values(), len(found), self.tolerance)
                different = {
                    k: one for k, one in different.items() if not one.error <= self.tolerance
                }
            if different:
                self._note(f"{label}{name}".replace("_", " "), different, off)
        return record

    def measure(self, name: str, steering: Steering) -> dict[str, Any]:
        """Measure what hooks do to one text at a strength that is not 0."""
        found_looks = looks(self.loaded, steering, self.example.prompt_ids, self.read)
        if not found_looks:
            raise UserError(
                f"The zero-steering gate sees nothing of {name}: of the longest of its answers "
                f"{len(self.read)} tokens are read back, and the scope steers none of them",
                "Raise checks.new_tokens (2 are read back of 3), or take a scope that so short "
                "answers reach.",
            )
        *closed, steering = found_looks
        for one in closed:
            if (cause := self._look(one)[1]) is not None:
                self.faults.append(f"{name} behind a gate that is closed: {cause}")
        found, cause = self._look(steering)
        record = {
            "alpha": steering.alpha,
            "places_steered": len(found.steered),
            "places_left_alone": found.untouched,
            "max_error_in_roundings": found.error,
        }
        if cause is not None:
            self.faults.append(f"{name} at α = {steering.alpha:.4g}: {cause}")
            return record
        return {**record, **self.compare_with_plain(name, steering, found.opened)}

    def compare_with_plain(
        self, name: str, steering: Steering | None, opened: Sequence[bool] | None = None
    ) -> dict[str, Any]:
        """Compare the logits of the example's answer with the plain HuggingFace model's."""
        record: dict[str, Any] = {}
        for label, engine, unsteered in self.runs:
            if steering is None:
                answer = unsteered[[*self.requests].index(self.example_name)]
            else:
                answer = _answers(engine, [replace(self.example, steering=steering)])[0]
            new = answer.generation
            found = self._plain.compare(
                answer.logits,
                new.token_ids[: new.num_tokens - 1],
                steering,
                dynamic_strengths(answer.logits, steering),
                opened,
            )
            record[f"{label}plain_model"] = {
                "problem": self.example_name,
                "prompt_tokens": len(self.example.prompt_ids),
                "steps": len(found.errors),
                "streams": sorted(answer.logits),
                "error": found.error,
                "bound": found.bound,
            }
            if found.wrong_from is not None:
                called = f"{label}{name}".replace("_", " ")
                at = "" if steering is None else f" at α = {steering.alpha:.4g}"
                self.faults.append(f"{called}{at}: {self._unlike(found, steering)}")
        return record

    def _unlike(self, found: PlainComparison, steering: Steering | None) -> str:
        """What is said of an answer that is not the plain model's, and the likely cause."""
        step = found.wrong_from
        assert step is not None
        if steering is not None:
            cause = (
                "if it happens without steering, too, see there; else keys and values of another "
                "row or stream are read, or the hooks are not what they were when they were watched"
            )
        elif step == 0:
            cause = "the prompt is read otherwise: wrong positions, mask, keys or attention"
        else:
            cause = "generated tokens are read back otherwise: wrong positions, mask or keys"
        return (
            f"logits are {found.error:.2g} off the plain HuggingFace model's for "
            f"{self.example_name} from position {len(self.example.prompt_ids) - 1 + step} on, "
            f"where rounding explains {found.bound:.2g}: {cause}"
        )

    def _engine(self, watch: Watch, compiled: bool = False) -> WatchedEngine:
        engine = self.make_engine(compiled)
        engine.watch = watch
        return engine

    def _look(self, steering: Steering) -> tuple[Effects, str | None]:
        """What hooks change in the example, and the likely cause if it is not what they should."""
        where = steering.sites
        if where not in self._looking:
            sites = sites_of(self.loaded, where)
            self._looking[where] = self._engine(Watch(self.loaded, sites=sites))
        engine = self._looking[where]
        assert engine.watch is not None
        names = [site.name for site in engine.watch.sites]
        try:
            answer = _answers(engine, [replace(self.example, steering=steering)])[0]
        except (AttributeError, RuntimeError, TypeError) as error:
            if not engine.watch.oddities:
                raise
            raise _closed([likely_cause(Effects(), engine.watch.oddities, names)]) from error
        prompt, new = self.example.prompt_ids, answer.generation
        found = effects(
            engine.watch.passes,
            steering,
            (*prompt, *new.token_ids[: new.num_tokens - 1]),
            len(prompt),
            dynamic_strengths(answer.logits, steering),
            self.loaded.dtype,
        )
        oddities = engine.watch.oddities
        if found.right and not oddities:
            return found, None
        for place in sorted(found.wrong, key=lambda place: (place.position, place.site)):
            logger.error("not as it ought to be: %s", place)
        return found, likely_cause(found, oddities, names)

    def _note(
        self, name: str, different: Mapping[str, AnswerDifference], off: Steering | None
    ) -> None:
        lines = []
        for problem, one in different.items():
            at = len(self.requests[problem].prompt_ids) - 1 + one.step
            lines.append(f"{problem} from position {at} on (logits up to {one.size:.3g} off)")
            logger.error("%s at α = 0 differs: %s", name, lines[-1])
        more = " …" if len(lines) > _NAMED else ""
        text = (
            f"{name} at α = 0: {len(different)} of {len(self.requests)} prompts differ from the "
            f"model without hooks: {', '.join(lines[:_NAMED])}{more}"
        )
        cause = None
        if off is not None:
            *_, shown = looks(self.loaded, off, self.example.prompt_ids, self.read)
            cause = self._look(shown)[1]
        self.faults.append(text if cause is None else f"{text}: {cause}")


@dataclass(frozen=True, eq=False)
class _Answer:
    """One answer, with the logits ``[vocab]`` of every step by stream."""

    generation: Generation
    logits: Mapping[Stream, Sequence[Tensor]]


def _answers(engine: WatchedEngine, requests: Iterable[Request]) -> list[_Answer]:
    """Answer requests with a watched engine; one at a time, if it watches what hooks do."""
    watch = engine.watch
    assert watch is not None
    watch.forget()
    generations = engine.generate(list(requests))
    return [_Answer(one, watch.logits[index]) for index, one in enumerate(generations)]


def _difference(wanted: _Answer, answer: _Answer) -> AnswerDifference | None:
    """Where an answer parts from the one that it must equal; None if it does not."""
    return answer_difference(
        wanted.generation, wanted.logits["real"], answer.generation, answer.logits["real"]
    )
