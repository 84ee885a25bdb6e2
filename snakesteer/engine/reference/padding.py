"""Whether padding beside a text changes what a model says of it."""

import torch

from snakesteer.engine.batching import left_pad, position_ids
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel
from snakesteer.models.outputs import apart, spread_ids
from snakesteer.models.precision import is_float32

_SHORTER = 5  # tokens


@torch.inference_mode()
def check_padding(loaded: LoadedModel) -> None:
    """Refuse to batch texts of a model that takes padding for text.

    Some count positions from the beginning of the batch, whatever the mask says (the decoders of
    BART and Whisper), or have no mask at all (RWKV).

    Args:
        loaded: The model, which answers more than one text at a time.

    Raises:
        UserError: A short text's logits are others beside a longer one.
    """
    text = spread_ids(loaded.model)[0].tolist()
    short = text[:-_SHORTER]
    ids, mask = left_pad(loaded, [short, text])
    positions = position_ids(loaded, mask, ids.shape[1])
    beside = loaded.model(ids, attention_mask=mask, use_cache=False, **positions).logits[0]
    alone = loaded.model(torch.tensor([short], device=ids.device), use_cache=False).logits[0]
    if apart(beside[_SHORTER:], alone, is_float32(loaded)):
        raise UserError(
            f"{type(loaded.model).__name__} takes the padding of shorter texts in a batch for "
            "text, so that answers would depend on each other",
            "Set engine.batch_size: 1.",
        )
