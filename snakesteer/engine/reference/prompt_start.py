"""Adding to the first positions of a batch of prompts that are steered alike."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from snakesteer.engine.reference.heads import no_cache
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.prompt_start import PromptStartSteering


def start_steered(
    loaded: LoadedModel, steering: PromptStartSteering, attention_mask: Tensor
) -> AbstractContextManager[None]:
    """Steer the first pass of a batch, which is the prefill, while the context is open.

    Position i of every prompt gets ``alpha · vector[i]`` at the output of the block. Positions
    beyond the vectors, decode steps and, in a prompt that is shorter, vectors beyond the prompt are
    left out.

    Args:
        loaded: The model.
        steering: Of all rows.
        attention_mask: ``[batch, prompt]``; 0 on padding, which is on the left.

    Raises:
        UserError: A layer that the model lacks, or a model that reads its whole text at every step
            because it has no KV cache.
    """
    delta = steering.alpha * steering.vector.float().cpu()  # [positions, hidden]
    mask = attention_mask.bool().cpu()
    place = mask.cumsum(dim=1) - 1  # [batch, prompt]
    where = mask & (place < len(delta)) & (steering.alpha != 0.0)
    place = place.clamp(0, len(delta) - 1)
    step = 0

    def add(hidden: Tensor) -> Tensor | None:
        nonlocal step
        step += 1
        if step > 1:
            if hidden.shape[1] != 1:
                raise no_cache()
            return None
        added = delta.to(hidden.device, hidden.dtype)[place.to(hidden.device)]
        return torch.where(where.to(hidden.device)[:, :, None], hidden + added, hidden)

    return on_block_outputs(loaded.blocks, {steering.layer: add})
