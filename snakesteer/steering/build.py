"""From a configuration and its vectors to what an engine needs."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from snakesteer.config import SettledGate
from snakesteer.errors import UserError
from snakesteer.steering.candidate import ALL_LAYERS, Candidate, VectorKey
from snakesteer.steering.dac import Dac
from snakesteer.steering.gates import Gate
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.kinds import Steering
from snakesteer.steering.operators import are_parallel
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from snakesteer.steering.vector import AnyVector, HeadVector, Vector

_NO_THRESHOLD = -1.0  # no entropy is below it


def steering_of(candidate: Candidate, vectors: Mapping[VectorKey, AnyVector]) -> Steering | None:
    """What an engine needs; None where α is 0, which is the unsteered model.

    Raises:
        UserError: A vector along the mean of the residual stream, which leaves `rotate` no plane.
        ValueError: The candidate lacks what its kind needs, which is a bug of its method.
    """
    if candidate.alpha == 0.0:
        return None
    match candidate.kind:
        case "residual":
            return _residual(candidate, vectors)
        case "heads":
            return _heads(candidate, vectors[candidate.method, ALL_LAYERS])
        case "prompt_start":
            place = _place(candidate, vectors[candidate.vector_keys[0]], candidate.alpha)
            return PromptStartSteering(place.layer, place.vector, place.alpha)


def steered_layers(candidate: Candidate, vectors: Mapping[VectorKey, AnyVector]) -> int:
    """The number of layers that are steered, each at the dose; several vectors count singly."""
    return sum(len(vectors[key].steered_layers) for key in candidate.vector_keys)


def _residual(candidate: Candidate, vectors: Mapping[VectorKey, AnyVector]) -> ResidualSteering:
    if candidate.schedule not in (None, "dynamic"):
        raise ValueError(f"the residual stream has no schedule {candidate.schedule!r}: {candidate}")
    if candidate.dynamic and candidate.scope != "from_last_prompt_token":
        raise ValueError(f"a dynamic strength has a scope of its own: {candidate}")
    alone = replace(candidate, beside=())
    first, *more = (
        _place(candidate, vectors[key], alpha)
        for key, alpha in zip(alone.vector_keys, alone.alphas, strict=True)
    )
    return ResidualSteering(
        layer=first.layer,
        vector=first.vector,
        alpha=first.alpha,
        scope=candidate.scope,
        first_k=candidate.first_k,
        dac=_dac(candidate) if candidate.dynamic else None,
        operator=candidate.operator,
        more=tuple(more),
        window=candidate.generated_window,
        tokens=candidate.at_tokens,
        gate=None if candidate.gate is None else gate_along(candidate.gate, vectors),
        axis=first.axis,
        beside=tuple(_residual(other, vectors) for other in candidate.beside),
    )


def gate_along(gate: SettledGate, vectors: Mapping[VectorKey, AnyVector]) -> Gate:
    """A gate with the vector that it looks along."""
    vector = vectors[gate.direction, gate.block]
    assert isinstance(vector, Vector)
    raw = torch.from_numpy(vector.raw)
    return Gate(vector.layer, raw, gate.score, gate.threshold, gate.side, gate.when)


def _heads(candidate: Candidate, vector: AnyVector) -> HeadSteering:
    if not isinstance(vector, HeadVector) or candidate.schedule is None or candidate.after is None:
        raise ValueError(f"no configuration of attention heads: {candidate}")
    layers = vector.steered_layers
    return HeadSteering(
        layers=layers,
        delta=torch.from_numpy(vector.delta[:, list(layers)]),
        alpha=candidate.alpha,
        schedule=candidate.schedule,
        after=candidate.after,
        dac=_dac(candidate) if candidate.dynamic else None,
    )


def _place(candidate: Candidate, vector: AnyVector, alpha: float) -> Place:
    assert isinstance(vector, Vector)
    # The angle of a rotation is the dose, in radians.
    strength = vector.dose(alpha) if candidate.operator in ("angular", "rotate") else alpha
    axis = None
    if candidate.operator == "rotate":
        if vector.residual_mean is None:
            raise ValueError(f"a vector without the mean that spans its plane: {candidate}")
        axis = torch.from_numpy(vector.residual_mean)
        if are_parallel(torch.from_numpy(vector.raw), axis):
            raise UserError(
                f"The vector of {vector.direction} at layer {vector.layer} lies along the mean of "
                "the residual stream there, so that the operator rotate has no plane to turn in",
                "Leave rotate out of the operators, or take another direction or layer.",
            )
    return Place(vector.layer, torch.from_numpy(vector.raw), strength, axis)


def _dac(candidate: Candidate) -> Dac:
    threshold = candidate.entropy_threshold
    if threshold is None and candidate.kind == "heads":
        threshold = _NO_THRESHOLD  # the published form has none
    values = (threshold, candidate.ptop, candidate.max_alpha, candidate.probe_alpha)
    given = [value for value in values if value is not None]
    if len(given) != len(values):
        raise ValueError(f"a DAC configuration lacks a parameter: {candidate}")
    threshold, ptop, max_alpha, probe_alpha = given
    return Dac(threshold, ptop, max_alpha, probe_alpha, candidate.kl)
