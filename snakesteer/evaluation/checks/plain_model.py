"""What the plain HuggingFace model makes of a text, without any engine.

It reads a prompt and, as one further piece, the answer that an engine gave. Where the answer was
steered, each position is changed by the second derivation of `hook_effects`.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from snakesteer.engine.watch import Stream
from snakesteer.evaluation.checks.hook_effects import Location, TensorChange, change_at
from snakesteer.models.arguments import cache_argument
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.heads import find_heads
from snakesteer.models.loading import LoadedModel
from snakesteer.models.precision import (
    FLOAT32_BOUND,
    OWN_ERRORS,
    converts,
    in_float32,
    is_float32,
    logits_error,
)
from snakesteer.steering.kinds import Steering

# Where the model's own error is not known, as its weights cannot be converted.
_OWN_ERROR_UNKNOWN = 0.3


@dataclass(frozen=True)
class PlainComparison:
    """How far an engine's logits are from the plain model's.

    Attributes:
        errors: Of every step, the largest of all streams; see `precision.logits_error`.
        bound: What rounding explains.
    """

    errors: tuple[float, ...]
    bound: float

    @property
    def error(self) -> float:
        """The largest one; NaN if any is."""
        return _largest(self.errors)

    @property
    def share(self) -> float:
        """The error in units of what is allowed; NaN counts as the most."""
        if not self.error:
            return 0.0
        return math.inf if self.error != self.error or not self.bound else self.error / self.bound

    @property
    def wrong_from(self) -> int | None:
        """The first step with an error that rounding does not explain."""
        wrong = (step for step, error in enumerate(self.errors) if not error <= self.bound)
        return next(wrong, None)


class PlainModel:
    """The plain model, and a prompt that it has read.

    Args:
        loaded: The model.
        prompt: Token ids.
    """

    def __init__(self, loaded: LoadedModel, prompt: Sequence[int]) -> None:
        self.loaded = loaded
        self.prompt = tuple(prompt)
        self.exact = converts(loaded)
        self._read: dict[bool, Any] = {}  # in float32 or not → HuggingFace's cache

    @torch.inference_mode()
    def compare(
        self,
        logits: Mapping[Stream, Sequence[Tensor]],
        answer: Sequence[int],
        steering: Steering | None,
        dynamic: Sequence[float],
        opened: Sequence[bool] | None = None,
    ) -> PlainComparison:
        """Compare an engine's logits of an answer with the plain model's.

        Args:
            logits: Stream → ``[vocab]`` of every step, at least one more than `answer` is long.
            answer: Generated tokens that were read.
            steering: How the answer was steered.
            dynamic: α_t of every step that the engine had; empty where the strength is not dynamic.
            opened: By position whether the gate was open; None without a gate.
        """
        steps = len(answer) + 1
        errors, own = [[0.0] for _ in range(steps)], 0.0
        for stream, given in logits.items():
            changes = self._changes(steering, stream, answer, dynamic, opened)
            wanted = self._logits(answer, steering, changes, wide=self.exact)
            for step, found in enumerate(given[:steps]):
                row = slice(step, step + 1)
                errors[step].append(logits_error(found[None].float().cpu(), wanted[row]))
            if self.exact and self.loaded.dtype != torch.float32:
                narrow = self._logits(answer, steering, changes, wide=False)
                own = max(own, logits_error(narrow, wanted))
        return PlainComparison(
            tuple(_largest(of_step) for of_step in errors), self._bound(OWN_ERRORS * own)
        )

    def _bound(self, reduced: float) -> float:
        if is_float32(self.loaded):
            return FLOAT32_BOUND
        return reduced if self.exact else _OWN_ERROR_UNKNOWN

    def _changes(
        self,
        steering: Steering | None,
        stream: Stream,
        answer: Sequence[int],
        dynamic: Sequence[float],
        opened: Sequence[bool] | None,
    ) -> dict[int, dict[int, TensorChange]]:
        """What ought to change: layer → position → how."""
        found: dict[int, dict[int, TensorChange]] = {}
        if steering is None:
            return found
        for layer in range(len(self.loaded.blocks)):
            for position, token in enumerate([*self.prompt, *answer]):
                place = Location(stream, layer, position)
                change = change_at(steering, place, token, len(self.prompt), dynamic, opened)
                if change is not None:
                    found.setdefault(layer, {})[position] = change
        return found

    def _logits(
        self,
        answer: Sequence[int],
        steering: Steering | None,
        changes: Mapping[int, Mapping[int, TensorChange]],
        wide: bool,
    ) -> Tensor:
        """``[steps, vocab]`` float32 on the CPU, of the last prompt token and the answer."""
        last = len(self.prompt) - 1
        in_prompt = any(position < last for one in changes.values() for position in one)
        with in_float32(self.loaded) if wide else nullcontext(self.loaded) as loaded:
            # Keys and values of what is read are added to a cache.
            cache = None if in_prompt or not last else copy.deepcopy(self._cache(loaded, wide))
            start = 0 if cache is None else last
            hooks = {layer: partial(_change, one, start) for layer, one in changes.items()}
            on_heads = steering is not None and steering.sites == "heads"
            hooked = (
                find_heads(loaded.model).on_outputs(hooks)
                if on_heads
                else on_block_outputs(loaded.blocks, hooks)
            )
            with hooked:
                text = [*self.prompt, *answer]
                steps = len(answer) + 1
                output = _forward(loaded, text, start, cache, logits_to_keep=steps)
            return output.logits[0, -steps:].float().cpu()

    def _cache(self, loaded: LoadedModel, wide: bool) -> Any:
        """HuggingFace's own, with all of the prompt but its last token, unsteered."""
        if wide not in self._read:
            output = _forward(loaded, self.prompt[:-1], 0, None, logits_to_keep=1)
            self._read[wide] = output[cache_argument(loaded.model)]
        return self._read[wide]


def _forward(
    loaded: LoadedModel, text: Sequence[int], start: int, cache: Any, logits_to_keep: int
) -> Any:
    """HuggingFace's output for the tokens of a text behind those that are in a cache."""
    ids = torch.tensor([text], device=loaded.device)
    return loaded.model(
        ids[:, start:],
        attention_mask=torch.ones_like(ids),
        use_cache=True,
        logits_to_keep=logits_to_keep,
        **{cache_argument(loaded.model): cache},
    )


def _change(changes: Mapping[int, TensorChange], start: int, hidden: Tensor) -> Tensor:
    """``[1, n, width]`` with some positions changed; the first is at `start`."""
    new = hidden.clone()
    for position, change in changes.items():
        changed = change.of(hidden[0, position - start].cpu().double())
        new[0, position - start] = changed.to(new)
    return new


def _largest(errors: Sequence[float]) -> float:
    return max(errors, key=lambda error: (error != error, error))  # NaN is the largest
