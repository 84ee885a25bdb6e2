"""ActAdd: the difference of two prompts' activations, position by position.

Turner et al. 2023, "Steering Language Models With Activation Engineering" (arXiv 2308.10248). The
activations of a prompt that has what is wanted, less those of one that lacks it, both as long as
the longer one, are added to the first positions of every prompt.

The paper reads and adds at a block's input. Here, as everywhere, layer L is the output of the
0-based block L: the paper's layer l is layer l − 1 here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snakesteer.errors import UserError
from snakesteer.models.blocks import on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.records.tensors import Array


@torch.inference_mode()
def prompt_differences(
    loaded: LoadedModel, plus: Sequence[int], minus: Sequence[int], layers: Sequence[int]
) -> dict[int, Array]:
    """Differences of two prompts' activations.

    The shorter prompt is filled up with blanks, as in the paper.

    Args:
        loaded: The model.
        plus: Token ids of the prompt that has what is wanted.
        minus: Token ids of the prompt that lacks it.
        layers: 0-based blocks.

    Returns:
        Layer → ``[positions, hidden]`` float32: plus less minus at the block's output.

    Raises:
        UserError: The prompts are empty or too long, or do not differ.
    """
    longest = max(len(plus), len(minus))
    if not plus or not minus or (loaded.context is not None and longest > loaded.context):
        raise UserError(
            f"The prompts of ActAdd have {len(plus)} and {len(minus)} tokens",
            "Let both steering.actadd_prompts be some words long.",
        )
    blank = blank_id(loaded)
    ids = torch.tensor([[*prompt] + [blank] * (longest - len(prompt)) for prompt in (plus, minus)])
    found: dict[int, Array] = {}

    def keep(layer: int) -> Any:
        def read(hidden: Tensor) -> None:
            found[layer] = (hidden[0].float() - hidden[1].float()).cpu().numpy()

        return read

    ids = ids.to(loaded.device)
    with on_block_outputs(loaded.blocks, {layer: keep(layer) for layer in layers}):
        loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    empty = [layer for layer in layers if not np.isfinite(found[layer]).all()]
    empty += [layer for layer in layers if not found[layer].any()]
    if empty:
        raise UserError(
            f"The activations of ActAdd's prompts do not differ at layer {empty[0]}, or are not "
            "finite",
            "Write two different prompts into steering.actadd_prompts; if they are, use "
            "model.dtype: float32.",
        )
    return found


def blank_id(loaded: LoadedModel) -> int:
    """The token that stands for a blank; the padding token where the tokenizer has none."""
    ids = loaded.tokenizer(" ", add_special_tokens=False)["input_ids"]
    return int(ids[-1]) if ids else loaded.pad_id
