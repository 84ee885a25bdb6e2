"""Requests as batches of one shape."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snakesteer.engine.interface import Request
from snakesteer.errors import UserError
from snakesteer.models.arguments import takes
from snakesteer.models.loading import LoadedModel, check_ids
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.kinds import Steering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering


def check_lengths(loaded: LoadedModel, requests: Sequence[Request]) -> None:
    """Refuse requests that cannot fit into the model's context, or that it has no embeddings for.

    Raises:
        UserError: A prompt is empty or holds an unknown token, or the largest request is larger
            than the context.
    """
    if any(not request.prompt_ids for request in requests):
        raise UserError("A prompt is empty", "Write some text into prompt.template.")

    check_ids(loaded, (request.prompt_ids for request in requests))

    def needed(request: Request) -> int:
        return len(request.prompt_ids) + request.max_new_tokens

    largest = max(requests, key=needed, default=None)
    if largest and loaded.context is not None and needed(largest) > loaded.context:
        raise UserError(
            f"A prompt of {len(largest.prompt_ids)} tokens and {largest.max_new_tokens} new tokens "
            f"do not fit into the model's context of {loaded.context}",
            "Lower prompt.shots or generation.max_new_tokens.",
        )


def left_pad(loaded: LoadedModel, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Prompts as one batch, padded on the left so that all end together.

    Returns:
        Ids and mask, ``[batch, longest]`` int64.
    """
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), loaded.pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(loaded.device), mask.to(loaded.device)


def position_ids(loaded: LoadedModel, mask: Tensor, new: int) -> dict[str, Tensor]:
    """Positions of left-padded texts, as an argument; none for models that take none.

    Args:
        loaded: The model.
        mask: ``[batch, seq]``, 0 on padding.
        new: How many of the last tokens are read.

    Returns:
        By the argument's name ``[batch, new]``.
    """
    if not takes(loaded.model, "position_ids"):
        return {}
    return {"position_ids": (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, -new:]}


def alike(steerings: Sequence[Steering | None]) -> HeadSteering | PromptStartSteering | None:
    """The one steering of a batch, where it is not of the residual stream; else None.

    Raises:
        ValueError: Rows that are not steered alike, where only the residual stream's could differ.
    """
    found = [s for s in steerings if s is not None and not isinstance(s, ResidualSteering)]
    if not found:
        return None
    if len(found) < len(steerings) or len({s.key for s in found}) > 1:
        raise ValueError(f"kind {found[0].kind} needs batches whose rows are all steered alike")
    return found[0]
