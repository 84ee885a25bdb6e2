"""Which samplers fit which search spaces, and the grid. Imported while the Snakefile is read."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

from snakesteer.config import Range, SearchConfig, SteeringConfig
from snakesteer.errors import UserError
from snakesteer.steering.bands import band_starts
from snakesteer.steering.methods import method
from snakesteer.steering.methods.base import strength_name

NO_STRENGTH = 1e-9  # a zero that rounding has moved

# Parameter → config key that names its values.
_KEYS = {"steering_direction": "directions", "operator": "operators", "gate": "gates"}


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
    band_starts(layers, steering.band)
    problems = []
    if search.sampler in ("gp", "qmc", "cmaes", "grid") and len(steering.methods) > 1:
        problems.append("parameters that exist for one method alone (steering.methods)")
    if search.sampler in ("qmc", "cmaes"):
        choices: dict[str, list[Any]] = {}
        for name in steering.methods:
            choices |= method(name).choices(steering, layers)
        starts = choices.pop("layer_id", [])
        for name, values in choices.items():
            if len(values) > 1:
                problems.append(f"choices without an order (steering.{_KEYS.get(name, name)})")
        if len({b - a for a, b in itertools.pairwise(starts)}) > 1:
            problems.append("layers that are not evenly spaced (steering.layers)")
    if problems:
        raise UserError(
            f"search.sampler is {search.sampler!r}, which cannot handle {' and '.join(problems)}",
            "Use search.sampler: tpe or random, or a smaller space.",
        )
    if search.sampler != "grid":
        return
    points = len(grid_points(search, steering, layers)) + 1
    if search.n_trials > points:
        raise UserError(
            f"search.n_trials is {search.n_trials}, but the grid has {points} points, the "
            "unsteered one included",
            f"Set search.n_trials: {points} or less, or raise search.grid_points.",
        )


def grid_points(
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
    [only] = steering.methods  # see `check_sampler`
    count = search.grid_points
    strengths = [s for s in _points(steering.strength, count) if abs(s) > NO_STRENGTH]
    spans = method(only).spans(steering)
    values: dict[str, list[Any]] = {
        "steering_method": [only],
        strength_name(steering): strengths,
        **method(only).choices(steering, layers),
        **{name: _points(span, count) for name, span in spans.items()},
    }
    points = [
        dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())
    ]
    random.Random(search.seed).shuffle(points)
    return points


def _points(span: Range, count: int) -> list[float]:
    """Evenly spaced values from end to end."""
    low, high = span
    return sorted({low + (high - low) * step / (count - 1) for step in range(count)})
