"""Bands of layers that are steered together. Imported while the Snakefile is read."""

from collections.abc import Sequence

from snakesteer.errors import UserError


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
