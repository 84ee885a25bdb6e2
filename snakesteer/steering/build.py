"""From a configuration and its vectors to what an engine needs."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from snakesteer.steering.candidate import ALL_LAYERS, Candidate, VectorKey
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.kinds import Steering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from snakesteer.steering.vector import AnyVector, HeadVector, Vector

_NO_THRESHOLD = -1.0  # no entropy is below it


def steering_of(candidate: Candidate, vectors: Mapping[VectorKey, AnyVector]) -> Steering | None:
    """What an engine needs; None where α is 0, which is the unsteered model.

    Raises:
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
        axis=first.axis,
        beside=tuple(_residual(other, vectors) for other in candidate.beside),
    )


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
