"""The gate before a search: hooks at strength 0 do nothing, and otherwise exactly what they should.

First, every kind of steering in the search answers validation prompts at α = 0 with its hooks on,
and the same engine answers them with no hook registered at all: token ids and logits must be equal,
bit for bit. That alone would pass hooks that never do anything, or that sit at a wrong position.
So, second, each kind of steering answers a prompt at a strength of the search, and what its hooks
change is measured at every layer and position: α·v (or what the operator makes of it) where it
belongs, and not one bit anywhere else.

All of that compares an engine with itself. So, third, the logits of answers, without steering and
under each kind of it, are compared with those of the plain HuggingFace model, which reads prompt
and answer without an engine. They may be as far from its logits in float32 as rounding explains: in
reduced precision, three times as far as the model's own in that precision are. Without steering
these are answers to that prompt and to two others; with it, to that prompt under three steerings at
a time, as those of a search share prompts and slots.

An engine that does not promise bits (vLLM, outside its batch-invariant mode) is held to the same
distance where the first comparison asks for equality, and the share of equal tokens is recorded.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.engine.select import promises_bits
from snakesteer.engine.slots.experts import is_mixture
from snakesteer.engine.watch import Stream, Watch, WatchedEngine
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.chosen_tokens import wrong_choice
from snakesteer.evaluation.checks.dynamic_truth import dynamic_strengths
from snakesteer.evaluation.checks.gate_cases import GateCase
from snakesteer.evaluation.checks.hook_effects import Effects, effects, likely_cause, sites_of
from snakesteer.evaluation.checks.looks import looks
from snakesteer.evaluation.checks.neighbours import nearest_prompts, variants
from snakesteer.evaluation.checks.plain_model import PlainComparison, PlainModel
from snakesteer.evaluation.checks.same_answers import AnswerDifference, answer_difference, nearly
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import Sites

logger = logging.getLogger(__name__)

_NAMED = 3  # prompts that a message names; the log has all


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
    unsteered = gate.compare_with_plain("no steering")
    found: dict[str, dict[str, Any]] = {"no steering": {}}
    for kind in kinds:
        effect, steered = measured[kind.name]
        found[kind.name] = {
            "configuration": kind.candidate.params(),
            **gate.compare(kind.name, kind.steering.off),
            **effect,
            # In slots that have held others by now.
            **(gate.compare_with_plain(kind.name, steered) if steered else {}),
        }
    # Where texts were steered before.
    found["no steering"] = {**gate.compare("no steering", None), **unsteered}
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
        self.first_logits = longest.logits["real"][0]
        # Whose output is changed → engine whose hooks are watched there.
        self._looking: dict[Sites, WatchedEngine] = {}
        self._plain: dict[str, PlainModel] = {}  # by problem
        self.exact = promises_bits(self.runs[0][1])
        # A router that rounds the other way at one token says something else there.
        self.routed = is_mixture(loaded.model) and loaded.dtype != torch.float32
        self.tolerance = 0.0  # where bits are not promised: what rounding explains

    def compare(self, name: str, off: Steering | None) -> dict[str, Any]:
        """Compare answers at α = 0, hooks on, with those that they must equal."""
        record: dict[str, Any] = {}
        for label, engine, wanted in self.runs:
            steered = [replace(request, steering=off) for request in self.requests.values()]
            pairs = zip(wanted, _answers(engine, steered), strict=True)
            found = dict(zip(self.requests, map(_difference, pairs), strict=True))
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

    def measure(self, name: str, steering: Steering) -> tuple[dict[str, Any], list["_Looked"]]:
        """Measure what hooks do to one text at a strength that is not 0.

        Returns:
            What is recorded, and what was looked at; nothing if it was not as it ought to be.
        """
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
        seen: list[_Looked] = []
        for one in variants(steering, self.first_logits):
            found, cause, answer = self._look(one)
            if cause is not None:
                self.faults.append(f"{name} at α = {one.alpha:.4g}: {cause}")
            seen.append(_Looked(one, answer, found))
            if cause is not None:
                break
        first = seen[0].effects
        record = {
            "alpha": steering.alpha,
            "places_steered": len(first.steered),
            "places_left_alone": first.untouched,
            "max_error_in_roundings": max(one.effects.error for one in seen),
        }
        return record, seen if cause is None else []

    def compare_with_plain(
        self, name: str, steered: Sequence["_Looked"] | None = None
    ) -> dict[str, Any]:
        """Compare the logits of some answers with the plain HuggingFace model's.

        Args:
            name: Of the kind of steering.
            steered: What is answered in one batch; None for what nothing steers.
        """
        record: dict[str, Any] = {}
        for label, engine, unsteered in self.runs:
            answers: list[tuple[str, _Looked]]
            if steered is None:
                told = dict(zip(self.requests, unsteered, strict=True))
                self._check_choices(label, engine.decoding, told)
                problems = dict.fromkeys([self.example_name, *nearest_prompts(self.requests)])
                answers = [(problem, _Looked(None, told[problem])) for problem in problems]
            else:
                asked = [replace(self.example, steering=one.steering) for one in steered]
                pairs = zip(steered, _answers(engine, asked), strict=True)
                beside = [replace(one, answer=answer) for one, answer in pairs]
                if self.exact and not label:  # what was looked at was not compiled
                    self._compare_with_alone(name, steered, beside)
                answers = [(self.example_name, one) for one in beside]
            each = [self._compare_with_plain(*one) for one in answers]
            bound = max(one.bound for one in each)
            if steered is None:
                self.tolerance = bound
            each = [replace(one, bound=bound) for one in each]
            if self.routed:
                middle = median(error for one in each for error in one.errors)
                each = [replace(one, errors=(middle,) * len(one.errors)) for one in each]
            compared = [(*one, found) for one, found in zip(answers, each, strict=True)]
            problem, looked, worst = max(compared, key=lambda one: one[-1].share)
            record[f"{label}plain_model"] = {
                "answers": len(compared),
                "problem": problem,
                "prompt_tokens": len(self.requests[problem].prompt_ids),
                "steps": len(worst.errors),
                "streams": sorted(looked.answer.logits),
                "error": worst.error,
                "bound": worst.bound,
            }
            for problem, looked, one in compared:
                if one.wrong_from is not None:
                    way = looked.steering
                    called = f"{label}{name}".replace("_", " ")
                    at = "" if way is None else f" at α = {way.alpha:.4g}"
                    self.faults.append(f"{called}{at}: {self._unlike(problem, one, way)}")
                    break
        return record

    def _compare_with_plain(self, problem: str, one: "_Looked") -> PlainComparison:
        if problem not in self._plain:
            self._plain[problem] = PlainModel(self.loaded, self.requests[problem].prompt_ids)
        logits, new = one.answer.logits, one.answer.generation
        return self._plain[problem].compare(
            logits,
            new.token_ids[: new.num_tokens - 1],
            one.steering,
            dynamic_strengths(logits, one.steering),
            one.effects.opened,
        )

    def _check_choices(self, label: str, decoding: Decoding, told: Mapping[str, "_Answer"]) -> None:
        """Let answers have the tokens that their logits choose."""
        for problem, answer in told.items():
            request, logits = self.requests[problem], answer.logits["real"]
            wrong = wrong_choice(self.loaded, request, decoding, answer.generation, logits)
            if wrong is not None:
                called = f"{label}no steering".replace("_", " ")
                self.faults.append(f"{called}: in the answer to {problem}, {wrong}")
                return

    def _compare_with_alone(
        self, name: str, alone: Sequence["_Looked"], beside: Sequence["_Looked"]
    ) -> None:
        for one, other in zip(alone, beside, strict=True):
            different = _difference((one.answer, other.answer))
            if different is not None:
                assert one.steering is not None
                at = len(self.example.prompt_ids) - 1 + different.step
                self.faults.append(
                    f"{name} at α = {one.steering.alpha:.4g}: the answer to {self.example_name} "
                    f"beside others is not the one that it gets alone, from position {at} on "
                    f"(logits up to {different.size:.3g} off): slots, vectors or prompts of "
                    "several requests are mixed up"
                )
                return

    def _unlike(self, problem: str, found: PlainComparison, steering: Steering | None) -> str:
        """What is said of an answer that is not the plain model's, and the likely cause."""
        step = found.wrong_from
        assert step is not None
        if steering is not None:
            cause = (
                "if it happens without steering, too, see there; else keys, values or steering of "
                "another row or stream are taken, or the hooks are not what they were when they "
                "were watched"
            )
        elif step == 0:
            cause = "the prompt is read otherwise: wrong positions, mask, keys or attention"
        else:
            cause = "generated tokens are read back otherwise: wrong positions, mask or keys"
        return (
            f"logits are {found.error:.2g} off the plain HuggingFace model's for {problem} from "
            f"position {len(self.requests[problem].prompt_ids) - 1 + step} on, "
            f"where rounding explains {found.bound:.2g}: {cause}"
        )

    def _engine(self, watch: Watch, compiled: bool = False) -> WatchedEngine:
        engine = self.make_engine(compiled)
        engine.watch = watch
        return engine

    def _look(self, steering: Steering) -> tuple[Effects, str | None, "_Answer"]:
        """What hooks change in the example, and the likely cause if it is not what they should.

        The answer is the third.
        """
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
            return found, None, answer
        for place in sorted(found.wrong, key=lambda place: (place.position, place.site)):
            logger.error("not as it ought to be: %s", place)
        return found, likely_cause(found, oddities, names), answer

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


@dataclass(frozen=True, eq=False)
class _Looked:
    """An answer, how it was steered, and what hooks did to it when they were watched."""

    steering: Steering | None
    answer: _Answer
    effects: Effects = field(default_factory=Effects)


def _answers(engine: WatchedEngine, requests: Iterable[Request]) -> list[_Answer]:
    """Answer requests with a watched engine; one at a time, if it watches what hooks do."""
    watch = engine.watch
    assert watch is not None
    watch.forget()
    generations = engine.generate(list(requests))
    return [_Answer(one, watch.logits[index]) for index, one in enumerate(generations)]


def _difference(pair: tuple[_Answer, _Answer]) -> AnswerDifference | None:
    """Where an answer parts from the first one, which it must equal; None if it does not."""
    wanted, answer = pair
    return answer_difference(
        wanted.generation, wanted.logits["real"], answer.generation, answer.logits["real"]
    )
