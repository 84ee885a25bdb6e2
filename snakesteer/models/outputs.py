"""What a model computes of a short text, looked at before it is used for anything."""

from typing import Any

import torch
from torch import Tensor

from snakesteer.errors import UserError
from snakesteer.models.blocks import block_output, decoder_blocks
from snakesteer.records.library_causes import MODEL
from snakesteer.records.library_errors import told

_CHANGED = 5  # last tokens of the text that differ between its two rows
# Relative error of logits that is no rounding: in float32, and in any dtype.
_IN_FLOAT32, _IN_ANY = 0.01, 0.3


def spread_ids(network: Any) -> Tensor:
    """A text from all over the vocabulary, ``[1, 16]`` token ids.

    Args:
        network: A HuggingFace causal LM.
    """
    rows = network.get_input_embeddings().weight.shape[0]
    return torch.linspace(0, rows - 1, 16).long().clamp(max=rows - 1)[None]


@torch.inference_mode()
def check_outputs(network: Any, device: torch.device, name: str) -> None:
    """Refuse a model that would answer nonsense, or whose blocks put out no residual stream.

    Args:
        network: A HuggingFace causal LM.
        device: Where its input goes.
        name: Of the model.

    Raises:
        UserError: Its numbers overflow, later tokens change what it says of earlier ones, or its
            blocks put out something else than one vector a token.
    """
    ids = spread_ids(network)
    other = torch.cat([ids[:, :-_CHANGED], ids[:, -_CHANGED:].flip(-1)], dim=-1)
    ids = torch.cat([ids, other]).to(device)
    shapes: list[tuple[int, ...]] = []

    def look(_module: Any, _inputs: Any, output: Any) -> None:
        # What has names need not begin with the residual stream (Reformer).
        shapes.append(() if hasattr(output, "_fields") else tuple(block_output(output).shape))

    handle = decoder_blocks(network)[0].register_forward_hook(look)
    try:
        with told(MODEL, f"The model {name!r}", "cannot be loaded"):
            # A config may say what its own architecture cannot compute.
            logits = network(ids, use_cache=False).logits
    finally:
        handle.remove()
    # A model may rule tokens out with -inf.
    if logits.isnan().any() or not logits.isfinite().any(dim=-1).all():
        raise UserError(
            f"The model {name!r} computes numbers that are not finite",
            "The dtype may be too small for it (try model.dtype: bfloat16 or float32), or its "
            "files may be damaged.",
        )
    wanted = (*ids.shape, network.config.get_text_config().hidden_size)
    if shapes and shapes[0] != wanted:
        raise UserError(
            f"A block of the model {name!r} puts out numbers of shape {[*shapes[0]]} for "
            f"{ids.shape[0]} texts of {ids.shape[1]} tokens, in place of one vector of "
            f"{wanted[-1]} numbers a token",
            "Use a model with one residual stream; those with several (Gemma 3n, DeepSeek 4) "
            "cannot be steered.",
        )
    if apart(logits[0, :-_CHANGED], logits[1, :-_CHANGED], logits.dtype == torch.float32):
        raise UserError(
            f"What the model {name!r} says of a token changes with later ones",
            "Use a decoder-only causal language model, or set is_decoder to true in the config of "
            "an encoder that was trained as one (BERT and its kin).",
        )


def apart(logits: Tensor, others: Tensor, exact: bool) -> bool:
    """Whether logits ``[positions, vocab]`` differ by more than rounding at most positions.

    Args:
        logits: Some.
        others: Of the same tokens.
        exact: Whether they were computed in float32, with weights that are not quantised.
    """
    first, second = (one.float().nan_to_num(neginf=0.0) for one in (logits, others))
    off = (first - second).norm(dim=-1) / second.norm(dim=-1).clamp(min=1e-9)
    return bool(off.median() > (_IN_FLOAT32 if exact else _IN_ANY))
