"""Which samplers fit which search spaces, and the grid. Imported while the Snakefile is read."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

from snakesteer.config import HEAD_METHODS, Range, SearchConfig, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.steering.bands import band_starts

NO_STRENGTH = 1e-9  # a zero that rounding has moved


def check_sampler(search: SearchConfig, steering: SteeringConfig, layers: Sequence[int]) -> None:
    """Refuse a sampler that would silently fall back to random choices in this space.

    Args:
        search: Names the sampler.
        steering: The space.
        layers: The layers to choose from.

    Raises:
        UserError: Names what of the space the sampler cannot handle; or there are too few layers
            for a band.
    """
    starts = band_starts(layers, steering.band)
    problems = []
    if search.sampler in ("gp", "qmc", "cmaes", "grid") and len(steering.methods) > 1:
        problems.append("parameters that exist for one method alone (steering.methods)")
    searches_layers = not set(steering.methods) <= set(HEAD_METHODS)
    if search.sampler in ("qmc", "cmaes") and searches_layers:
        for key in ("directions", "operators"):
            if len(getattr(steering, key)) > 1:
                problems.append(f"choices without an order (steering.{key})")
        if len({b - a for a, b in itertools.pairwise(starts)}) > 1:
            problems.append("layers that are not evenly spaced (steering.layers)")
    if problems:
        raise UserError(
            f"search.sampler is {search.sampler!r}, which cannot handle {' and '.join(problems)}",
            "Use search.sampler: tpe or random, or a smaller space.",
        )
    if search.sampler != "grid":
        return
    points = len(grid(search, steering, layers)) + 1
    if search.n_trials > points:
        raise UserError(
            f"search.n_trials is {search.n_trials}, but the grid has {points} points, the "
            "unsteered one included",
            f"Set search.n_trials: {points} or less, or raise search.grid_points.",
        )


def grid(
    search: SearchConfig, steering: SteeringConfig, layers: Sequence[int]
) -> list[dict[str, Any]]:
    """All steered points, in an order drawn by the seed.

    Args:
        search: Number of values, and the seed.
        steering: The space.
        layers: The layers to choose from.

    Returns:
        Parameters by their names in the study.
    """
    values: dict[str, list[Any]] = {
        "steering_method": list(steering.methods),
        f"steering_{steering.unit}": [
            strength
            for strength in _points(steering.strength, search.grid_points)
            if abs(strength) > NO_STRENGTH
        ],
    }
    [method] = steering.methods  # see `check_sampler`
    if method not in HEAD_METHODS:
        if method != "actadd":
            values["steering_direction"] = list(steering.directions)
        values["layer_id"] = band_starts(layers, steering.band)
    if method == "caa" and len(steering.operators) > 1:
        values["operator"] = list(steering.operators)
    if method == "dac":
        values["entropy_threshold"] = _points(steering.dac_entropy_threshold, search.grid_points)
    if method == "dac" or (method == "dac_heads" and steering.heads_schedule == "dynamic"):
        values["ptop"] = _points(steering.dac_ptop, search.grid_points)
        values["max_alpha"] = _points(steering.dac_max_alpha, search.grid_points)
    points = [
        dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())
    ]
    random.Random(search.seed).shuffle(points)
    return points


def _points(span: Range, count: int) -> list[float]:
    """Evenly spaced values from end to end."""
    low, high = span
    return sorted({low + (high - low) * step / (count - 1) for step in range(count)})
