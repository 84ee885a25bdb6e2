"""The way back through a model: frozen weights, little memory, the same bits every time."""

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import Cache

from snakesteer.models.loading import LoadedModel

logger = logging.getLogger(__name__)

T = TypeVar("T")


def checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A block's forward that is computed again on the way back.

    Its cache grows by the batch's own keys each time: both times start from the same one.
    """

    def again(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        def run(stream: Tensor) -> Any:
            own = {key: _fresh(value) for key, value in kwargs.items()}
            return forward(stream, *map(_fresh, args), **own)

        return checkpoint(run, hidden_states, use_reentrant=False)

    return again


def _fresh(value: Any) -> Any:
    """A cache with layers of its own, which share the tensors so far; anything else as it is."""
    if not isinstance(value, Cache):
        return value
    own = copy.copy(value)
    own.layers = [copy.copy(layer) for layer in value.layers]
    return own


@contextmanager
def frozen(loaded: LoadedModel) -> Iterator[None]:
    """A context in which no weight of the model wants a gradient."""
    wanting = [p for p in loaded.model.parameters() if p.requires_grad]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)


def repeatable(learn: Callable[[], T], device: torch.device) -> T:
    """Do something with a way back that has the same bits every time, on a GPU, too.

    There attention's gradients are else summed in the order in which the GPU's blocks end. Where a
    model has an operation that cannot be told to, this is said, and it goes on without.

    Args:
        learn: What to do; adds to gradients at its very end, if at all.
        device: Where it computes.
    """
    if device.type != "cuda":
        return learn()
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        return learn()
    except RuntimeError as error:
        if "use_deterministic_algorithms" not in str(error):
            raise
        logger.warning("The same seed may give vectors with other last bits: %s", error)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
    return learn()
