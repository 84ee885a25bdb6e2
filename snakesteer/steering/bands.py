"""Bands of layers that are steered together. Imported while the Snakefile is read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from snakesteer.errors import UserError

if TYPE_CHECKING:  # numpy is not needed where the Snakefile is read
    from snakesteer.steering.vector import AnyVector


def band_starts(layers: Sequence[int], band: int) -> list[int]:
    """The layers that a band can begin with.

    Args:
        layers: ``steering.layers``, resolved and sorted.
        band: Number of layers that are steered together.

    Raises:
        UserError: There are fewer layers.
    """
    if band > len(layers):
        raise UserError(
            f"steering.band is {band}, but steering.layers are {len(layers)}: {list(layers)}",
            "Lower steering.band, or name more layers.",
        )
    return list(layers[: len(layers) - band + 1])


def band_from(layers: Sequence[int], band: int, first: int) -> tuple[int, ...]:
    """The layers of the band that begins with a layer."""
    start = list(layers).index(first)
    return tuple(layers[start : start + band])


def mean_dose(vectors: Sequence["AnyVector"]) -> float:
    """The dose of vectors at α = 1, averaged over their layers."""
    return sum(vector.dose(1.0) for vector in vectors) / len(vectors)
