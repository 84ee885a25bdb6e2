"""Which layers a config asks for. Layers are decoder blocks, counted from 0."""

from typing import TYPE_CHECKING

from snakesteer.config.catalogue import TRAINED
from snakesteer.errors import UserError

if TYPE_CHECKING:  # the section reads its layers with this module
    from snakesteer.config.steering import SteeringConfig

ALL = "all"


def parse_layers(layers: list[int | float] | str) -> list[int] | list[float]:
    """Read a layer specification: whole numbers, or fractions of the depth.

    Args:
        layers: ``[8, 10]``, ``"8-12"``, ``"8-20:4"``, ``[0.3, 0.5]`` or ``"all"``.

    Returns:
        Sorted 0-based layer indices (ints), or fractions in (0, 1) (floats); nothing for all.

    Raises:
        ValueError: Anything else, with a remedy.
    """
    remedy = "Write [8, 10], '8-12', fractions such as [0.3, 0.5], or all"
    if layers == ALL:
        return []
    if isinstance(layers, str):
        span, _, step = layers.partition(":")
        start, dash, stop = span.partition("-")
        numbers = (start, stop, step or "1")
        if not dash or not all(part.strip().isdigit() for part in numbers):
            raise ValueError(f"steering.layers is {layers!r}, which is not a range. {remedy}")
        first, last, stride = (int(part) for part in numbers)
        if first > last or stride < 1:
            raise ValueError(f"steering.layers is {layers!r}, an empty range. {remedy}")
        return list(range(first, last + 1, stride))
    if not layers:
        raise ValueError(f"steering.layers is empty, so nothing can be steered. {remedy}")
    if len(set(layers)) != len(layers):
        raise ValueError(f"steering.layers names a layer twice: {layers}. Name each once")
    if all(isinstance(layer, int) for layer in layers):
        if min(layers) < 0:
            raise ValueError(
                f"steering.layers is {layers}; layers are counted from 0 at the input. {remedy}"
            )
        return sorted(int(layer) for layer in layers)
    if all(isinstance(layer, float) and 0.0 < layer < 1.0 for layer in layers):
        return sorted(float(layer) for layer in layers)
    raise ValueError(
        f"steering.layers is {layers}: neither whole numbers nor fractions between 0 and 1. "
        f"{remedy}"
    )


def resolve_layers(layers: list[int | float] | str, num_layers: int | None) -> list[int]:
    """The 0-based layers that a specification stands for.

    A fraction f means block ``round(f · (num_layers − 1))``; fractions that meet are merged.

    Args:
        layers: See `parse_layers`.
        num_layers: Depth of the model, None when it is not known yet.

    Raises:
        UserError: A layer beyond the model, or fractions of an unknown depth.
    """
    parsed = parse_layers(layers)
    if not parsed:
        if num_layers is None:
            raise UserError(
                "steering.layers is all, but the model's depth is not known before it has been "
                "downloaded",
                "Set model.num_layers, or give steering.layers as whole numbers.",
            )
        return list(range(num_layers))
    if isinstance(parsed[0], float):
        if num_layers is None:
            raise UserError(
                f"steering.layers holds fractions ({parsed}), but the model's depth is not known "
                "before it has been downloaded",
                "Set model.num_layers, or give steering.layers as whole numbers.",
            )
        return sorted({round(fraction * (num_layers - 1)) for fraction in parsed})
    indices = [int(layer) for layer in parsed]
    if num_layers is not None and indices[-1] >= num_layers:
        raise UserError(
            f"steering.layers asks for layer {indices[-1]}, but the model has {num_layers} layers "
            f"(0 to {num_layers - 1})",
            f"Use layers up to {num_layers - 1}.",
        )
    return indices


def settled_layers(
    steering: "SteeringConfig", num_layers: int | None
) -> tuple["SteeringConfig", list[int]]:
    """The steering section for a model of known depth, and its layers.

    ``layers: all`` is one band of all blocks.

    Args:
        steering: The section.
        num_layers: Depth of the model, None when it is not known yet.

    Raises:
        UserError: As in `resolve_layers`; or vectors are trained for bands that share layers.
    """
    layers = resolve_layers(steering.layers, num_layers)
    band = len(layers) if steering.layers == ALL else steering.band
    if TRAINED in steering.directions and 1 < band < len(layers):
        raise UserError(
            f"steering.band is {band} and steering.layers are {len(layers)} ({layers}): bands "
            "would share layers, but vectors that are steered together are trained together, so "
            "that a layer would need several",
            f"Set steering.band: 1 (a vector per layer) or name {band} layers (one band); or leave "
            "trained out of steering.directions.",
        )
    return steering.model_copy(update={"band": band}), layers
