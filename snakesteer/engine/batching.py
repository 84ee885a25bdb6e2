"""Requests as batches of one shape."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snakesteer.engine.interface import Request
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel


def check_lengths(loaded: LoadedModel, requests: Sequence[Request]) -> None:
    """Refuse requests that cannot fit into the model's context.

    Raises:
        UserError: Names the longest prompt, the limit and the remedy.
    """
    for request in requests:
        if not request.prompt_ids:
            raise UserError("A prompt is empty", "Write some text into prompt.template.")
        needed = len(request.prompt_ids) + request.max_new_tokens
        if loaded.context is not None and needed > loaded.context:
            raise UserError(
                f"A prompt of {len(request.prompt_ids)} tokens and {request.max_new_tokens} new "
                f"tokens do not fit into the model's context of {loaded.context}",
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
