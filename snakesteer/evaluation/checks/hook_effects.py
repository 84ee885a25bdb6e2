"""What steering hooks changed, against what they ought to have changed.

The truth here is written down once more, in float64 and position by position, apart from the code
that the engines run. What hooks did comes from a `snakesteer.engine.watch.Watch`.
"""

import itertools
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from snakesteer.config import Operator
from snakesteer.engine.watch import Pass, Site, Stream
from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.heads import find_heads
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.kinds import Steering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering, Sites

# What float32 sums over the hidden dimensions may be off, relative to the mean square.
_SUMS = 1e-4


@dataclass(frozen=True)
class Location:
    """Where something was looked at.

    Attributes:
        stream: ``real`` unless the strength is dynamic.
        site: 0-based layer.
        position: Of the token, from 0.
    """

    stream: Stream
    site: int
    position: int


@dataclass(eq=False)
class Effects:
    """What hooks did to one text.

    Attributes:
        steered: Places that ought to change.
        untouched: Number of places that ought not to.
        changed: Places that did change.
        wrong: Places whose tensor is not what it ought to be.
        edited: Places where the tensor that the block returned was overwritten.
        misread: Positions at which another token was read than the text has there.
        error: Largest difference from what ought to be, in roundings of the dtype; 1 is allowed.
        factors: Length of what was done along what ought to be done, at the places in both sets.
        stray: Largest share of what was done that is not along what ought to be done.
    """

    steered: set[Location] = field(default_factory=set)
    untouched: int = 0
    changed: set[Location] = field(default_factory=set)
    wrong: set[Location] = field(default_factory=set)
    edited: set[Location] = field(default_factory=set)
    misread: set[int] = field(default_factory=set)
    error: float = 0.0
    factors: list[float] = field(default_factory=list)
    stray: float = 0.0

    @property
    def right(self) -> bool:
        """Whether exactly what ought to change did, by as much as it ought to."""
        return not (self.wrong or self.edited or self.misread)


def sites_of(loaded: LoadedModel, where: Sites) -> list[Site]:
    """Where hooks act that change these outputs: one site per layer."""
    if where == "heads":
        modules = find_heads(loaded.model).projections
        return [
            Site(f"the heads' output in block {layer}", module, "input")
            for layer, module in enumerate(modules)
        ]
    blocks = decoder_blocks(loaded.model)
    return [Site(f"the output of block {layer}", block) for layer, block in enumerate(blocks)]


def effects(
    passes: Sequence[Pass],
    steering: Steering,
    text: Sequence[int],
    prompt_tokens: int,
    dynamic: Sequence[float],
    dtype: torch.dtype,
) -> Effects:
    """Compare what was read and changed with what ought to be.

    Args:
        passes: All passes of one request.
        steering: How it was steered.
        text: Prompt and generated tokens, as far as they were read.
        prompt_tokens: Tokens of the prompt.
        dynamic: α_t of every step; empty where the strength is not dynamic.
        dtype: Of the model's activations.
    """
    found = Effects()
    for one in passes:
        end = len(text) if one.chooses else prompt_tokens - 1
        length = min(len(one.ids), end - one.start)
        expected = text[one.start : one.start + length]
        for at, (token, wanted) in enumerate(zip(one.ids.tolist(), expected, strict=False)):
            if token != wanted:
                found.misread.add(one.start + at)
        changed = (one.after != one.before).any(dim=-1).tolist()  # [sites][n]
        edited = (one.held != one.before).any(dim=-1).tolist()
        for site, at in itertools.product(range(len(changed)), range(length)):
            place = Location(one.stream, site, one.start + at)
            if edited[site][at]:
                found.edited.add(place)
            if changed[site][at]:
                found.changed.add(place)
            change = change_at(steering, place, text[place.position], prompt_tokens, dynamic)
            if change is None:
                found.untouched += 1
                if changed[site][at]:
                    found.wrong.add(place)
            else:
                before, after = one.before[site, at], one.after[site, at]
                _compare(found, place, change, before.double(), after.double(), dtype)
    return found


@dataclass(frozen=True, eq=False)
class TensorChange:
    """What ought to happen to one tensor.

    Attributes:
        operator: What the vector does.
        vector: ``[width]``.
        factor: Strength, the angle in radians, or the share that is removed.
        axis: ``[width]``, for ``rotate`` alone.
        then: What ought to happen to the result, if anything.
    """

    operator: Operator
    vector: Tensor
    factor: float
    axis: Tensor | None = None
    then: "TensorChange | None" = None

    @property
    def is_any(self) -> bool:
        """Whether something ought to happen at first."""
        return self.factor != 0.0 and bool(self.vector.any())

    def of(self, h: Tensor) -> Tensor:
        """What the tensor ``[width]`` becomes in the end."""
        return self.steps(h)[-1][1]

    def steps(self, h: Tensor) -> list[tuple[Operator, Tensor]]:
        """What it becomes, one change after the other."""
        first = self.alone(h)
        return [(self.operator, first), *(self.then.steps(first) if self.then else ())]

    def alone(self, h: Tensor) -> Tensor:
        """What it becomes at first; the formulas of `snakesteer.steering.operators`."""
        v = self.vector.double()
        added = self.factor * v
        match self.operator:
            case "add":
                return h + added
            case "clamp":
                return h + added - (h @ v) / (v @ v) * v
            case "norm_preserving":
                return (h + added) * (h.norm() / (h + added).norm())
            case "angular":
                aside = v - (h @ v) / (h @ h) * h
                turned = math.sin(self.factor) * h.norm() / aside.norm() * aside
                return math.cos(self.factor) * h + turned
            case "ablate":
                return h - self.factor * (h @ v) / (v @ v) * v
            case "rotate":
                assert self.axis is not None
                cos, sin = math.cos(self.factor), math.sin(self.factor)
                turn = torch.tensor([[cos - 1.0, sin], [-sin, cos - 1.0]], dtype=torch.float64)
                # QR leaves the signs of its orthonormal columns open.
                basis, r = torch.linalg.qr(torch.stack([v, self.axis.double()], dim=1).cpu())
                basis = (basis * r.diagonal().sign()).to(h.device)
                return h + basis @ (turn.to(h.device) @ (basis.T @ h))


def change_at(
    steering: Steering, place: Location, token: int, prompt_tokens: int, dynamic: Sequence[float]
) -> TensorChange | None:
    """What ought to happen to one tensor; None for nothing.

    Args:
        steering: How the text is steered. A scope by token names ids.
        place: Of the tensor.
        token: What the text has at this position.
        prompt_tokens: Tokens of the prompt.
        dynamic: α_t of every step; empty where the strength is not dynamic.
    """
    step = place.position - (prompt_tokens - 1)
    match steering:
        case PromptStartSteering():
            change = _start_change(steering, place.site, place.position, prompt_tokens)
        case HeadSteering():
            change = _heads_change(steering, place.stream, place.site, step, dynamic)
        case ResidualSteering():
            change = None
            # The last one first, so that the others come before it.
            for part in (*steering.beside[::-1], steering):
                if _in_scope(part, step, token):
                    one = _residual_change(part, place.stream, place.site, step, dynamic)
                    change = replace(one, then=change) if one and one.is_any else change
    return change if change and change.is_any else None


def _residual_change(
    steering: ResidualSteering, stream: Stream, layer: int, step: int, dynamic: Sequence[float]
) -> TensorChange | None:
    place = next((place for place in steering.places if place.layer == layer), None)
    if stream == "unsteered" or place is None:
        return None
    strength = place.alpha
    if steering.dac is not None:
        own = place.alpha / steering.alpha if steering.alpha else 1.0
        strength = own * _dynamic(steering.dac, steering.alpha, stream, step, dynamic)
    return TensorChange(steering.operator, place.vector, strength, place.axis)


def _in_scope(steering: ResidualSteering, step: int, token: int) -> bool:
    """Whether a position is steered: the last prompt token is at 0, generated token t at t + 1."""
    number, (start, end) = step - 1, steering.window or (0, 0)
    match "from_last_prompt_token" if steering.dac is not None else steering.scope:
        case "all":
            return True
        case "from_last_prompt_token":
            return step >= 0
        case "generated_only":
            return number >= 0
        case "last_prompt_token":
            return step == 0
        case "first_k":
            return 0 <= step < (steering.first_k or 0)
        case "generated_window":
            return number in range(start, end)
        case "outside_generated_window":
            return number >= 0 and number not in range(start, end)
        case "at_tokens":
            return number >= 0 and token in (steering.tokens or ())
        case "not_at_tokens":
            return number >= 0 and token not in (steering.tokens or ())


def _heads_change(
    steering: HeadSteering, stream: Stream, layer: int, step: int, dynamic: Sequence[float]
) -> TensorChange | None:
    if stream == "unsteered" or step < 0 or layer not in steering.layers:
        return None
    vector = steering.delta_at(step)[steering.layers.index(layer)]
    if steering.dac is None:
        return TensorChange("add", vector, steering.factor(step))
    strength = _dynamic(steering.dac, steering.alpha, stream, step, dynamic)
    return TensorChange("add", vector, strength)


def _start_change(
    steering: PromptStartSteering, layer: int, position: int, prompt_tokens: int
) -> TensorChange | None:
    """Position by position, at the start of the prompt."""
    if layer != steering.layer or position >= min(len(steering.vector), prompt_tokens):
        return None
    return TensorChange("add", steering.vector[position], steering.alpha)


def _dynamic(dac: Dac, alpha: float, stream: Stream, step: int, dynamic: Sequence[float]) -> float:
    return dac.probe_alpha if stream == "probe" else alpha * dynamic[step]


def _compare(
    found: Effects,
    place: Location,
    change: TensorChange,
    before: Tensor,
    after: Tensor,
    dtype: torch.dtype,
) -> None:
    """Note a place that ought to change, from float64 tensors ``[width]``."""
    found.steered.add(place)
    wanted = change.of(before)
    asked, done = wanted - before, after - before
    allowed, last = torch.zeros_like(before), before
    for operator, new in change.steps(before):
        moved = new - last
        # What is added is rounded, and the sum is.
        allowed += torch.finfo(dtype).eps * (moved.abs() + new.abs())
        if operator != "add":
            allowed += _SUMS * (last.square().mean().sqrt() + moved.square().mean().sqrt())
        elif place.stream == "real":
            allowed += _SUMS * moved.abs()  # α_t comes out of float32 sums
        last = new
    off = (after - wanted).abs()
    error = float((off / allowed.clamp(min=torch.finfo(torch.float32).tiny)).max())
    found.error = max(found.error, error if math.isfinite(error) else math.inf)
    if not error <= 1.0:
        found.wrong.add(place)
    factor = float((done @ asked) / (asked @ asked))
    found.factors.append(factor)
    found.stray = max(found.stray, float((done - factor * asked).norm() / asked.norm()))


def likely_cause(found: Effects, oddities: Set[str], names: Sequence[str]) -> str:
    """Why hooks did not do what they ought to, in words.

    Args:
        found: What they did.
        oddities: Of the watch.
        names: Of the sites.
    """
    if oddities:
        return f"{min(oddities)} behind the hook: it must give back what it got, in the same form"
    if found.edited:
        place = _first(found.edited)
        return (
            f"{names[place.site]} is edited in place (position {place.position}), which reaches "
            "whatever else holds that tensor: the hook must return a new one"
        )
    if found.misread:
        return f"another token than the text's is read at position {min(found.misread)}"
    if found.steered and not found.changed:
        return "the hook does nothing: it is not registered, or what it returns is not used"
    unasked = {place for place in found.changed if place.stream == "real"}
    if unasked and all(place.stream != "real" for place in found.steered):
        place = _first(unasked)
        return f"{names[place.site]} is changed at strength 0 (position {place.position})"
    sites, right_sites = ({place.site for place in s} for s in (found.changed, found.steered))
    if sites != right_sites:
        return (
            f"the wrong layer: {_listed(sites, names)} changed, not {_listed(right_sites, names)}"
        )
    if found.changed != found.steered:
        return _positions(found)
    low, high = min(found.factors), max(found.factors)
    if found.stray < 0.1 and high - low < 0.1 * abs(high):
        return f"the factor: what is added is {low:.4g} times what was asked for"
    return (
        "what is added is not α·v: another vector, another strength at some positions, or "
        "something done to the sum (such as a new norm)"
    )


def _positions(found: Effects) -> str:
    changed, steered = ({place.position for place in s} for s in (found.changed, found.steered))
    for shift in (-1, 1):
        # One position may lie behind the text's end.
        if len(changed ^ {position + shift for position in steered}) <= 1:
            where = "before" if shift < 0 else "behind"
            return f"positions are off by one: steering is one {where} where it belongs"
    wrong = sorted(changed ^ steered)
    return f"the wrong positions are steered ({', '.join(map(str, wrong[:5]))} …)"


def _first(places: Set[Location]) -> Location:
    return min(places, key=lambda place: (place.position, place.site))


def _listed(sites: Set[int], names: Sequence[str]) -> str:
    return ", ".join(names[site] for site in sorted(sites)[:3]) or "nothing"
