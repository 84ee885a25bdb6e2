"""Inference-time intervention: the heads that know best what is right, pushed that way.

Li et al. 2023, "Inference-Time Intervention: Eliciting Truthful Answers from a Language Model"
(arXiv 2306.03341; repository likenneth/honest_llama). A logistic probe on each head's output tells
right from wrong solutions; the K heads whose probes do so best on pairs that they were not fitted
on are steered along θ, the unit vector from the wrong solutions' mean to the right ones' ("mass
mean shift"), by α·σ, where σ is the standard deviation of the train activations along θ.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from snakesteer.errors import UserError
from snakesteer.records.tensors import Array
from snakesteer.steering.vector import HeadVector
from snakesteer.vectors.activations import Activations, read_activations
from snakesteer.vectors.probe_fits import fit_probe, probe_metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Head:
    """One attention head and what is known of it.

    Attributes:
        layer: 0-based.
        number: Within its layer.
        accuracy: Of its probe on validation pairs.
        auc: Of its probe on validation pairs.
        push: ``[head_dim]`` float32, σ·θ; 0 where right and wrong solutions have one mean.
    """

    layer: int
    number: int
    accuracy: float
    auc: float
    push: Array


def estimate_iti(
    train: str | Path, val: str | Path, wanted: int, c: float
) -> tuple[HeadVector, dict[str, Any]]:
    """The vector of a model's best heads, layer by layer from files.

    Args:
        train: Folder with ``layer_{L}.h5``: heads' outputs of train pairs, of all layers.
        val: Those of validation pairs.
        wanted: Heads to steer.
        c: Inverse regularisation strength of the probes.

    Returns:
        The vector, and where it comes from with what is known of its heads.

    Raises:
        UserError: A file that cannot be read, or no head that can be steered.
    """
    found: list[Head] = []
    norm: list[float] = []
    for layer in range(len(list(Path(train).glob("layer_*.h5")))):
        own, unseen = (read_activations(Path(part) / f"layer_{layer}.h5") for part in (train, val))
        number = int(own.attributes["heads"])
        found += layer_heads(own, unseen, number, c)
        norm.append(float(own.residual_norm.mean(dtype=np.float64)))
    chosen = best_heads(found, wanted)
    known = [
        {"layer": h.layer, "head": h.number, "accuracy": h.accuracy, "auc": h.auc} for h in chosen
    ]
    header = {k: v for k, v in own.attributes.items() if k not in ("layer", "tensor")}
    return iti_vector(chosen, number, norm), {**header, "c": c, "steered": known}


def layer_heads(train: Activations, val: Activations, number: int, c: float) -> list[Head]:
    """Probe all heads of one layer.

    Args:
        train: Heads' outputs of train pairs, ``[pairs, heads · head_dim]``.
        val: Those of validation pairs.
        number: Heads in the layer.
        c: Inverse regularisation strength of the probes.
    """
    found = []
    for head, (own, unseen) in enumerate(
        zip(_split(train, number), _split(val, number), strict=True)
    ):
        metrics = probe_metrics(fit_probe(own, c), unseen)
        layer = int(train.attributes["layer"])
        found.append(Head(layer, head, metrics["accuracy"], metrics["auc"], push(own)))
    return found


def push(train: Activations) -> Array:
    """σ·θ of one head: mass mean shift of unit length times the spread along it, ``[head_dim]``."""
    right, wrong = train.positive.astype(np.float64), train.negative.astype(np.float64)
    shift = right.mean(axis=0) - wrong.mean(axis=0)
    length = np.linalg.norm(shift)
    if length == 0.0:
        return np.zeros_like(train.positive[0])
    theta = shift / length
    sigma = np.std(np.concatenate([right, wrong]) @ theta)
    return (sigma * theta).astype(np.float32)


def best_heads(heads: Sequence[Head], wanted: int) -> list[Head]:
    """The heads with the most accurate probes; of equals those with the higher AUC, then the first.

    Heads that cannot be pushed are left out. Fewer than wanted are a warning.

    Raises:
        UserError: No head can be pushed.
    """
    able = [head for head in heads if head.push.any()]
    if not able:
        raise UserError(
            "Right and wrong solutions look the same to every attention head",
            "Use another pairs.read.",
        )
    if len(able) < wanted:
        logger.warning("heads.iti_heads is %d; the model has %d such heads", wanted, len(able))
    ranked = sorted(able, key=lambda h: (-h.accuracy, -h.auc, h.layer, h.number))
    return ranked[:wanted]


def iti_vector(heads: Sequence[Head], number: int, norm: Sequence[float]) -> HeadVector:
    """The vector that steers some heads.

    Args:
        heads: The heads that are steered.
        number: Heads in a layer.
        norm: Mean norm of the heads' outputs of every layer.
    """
    dim = len(heads[0].push)
    delta = np.zeros((1, len(norm), number, dim), dtype=np.float32)
    for head in heads:
        delta[0, head.layer, head.number] = head.push
    # [steps, layers, heads · head_dim]
    vectors = delta.reshape(1, len(norm), number * dim)
    return HeadVector("iti", vectors, np.asarray(norm, dtype=np.float32))


def _split(activations: Activations, number: int) -> list[Activations]:
    """The activations of each head of a layer."""
    right = np.split(activations.positive, number, axis=1)
    wrong = np.split(activations.negative, number, axis=1)
    return [replace(activations, positive=a, negative=b) for a, b in zip(right, wrong, strict=True)]
