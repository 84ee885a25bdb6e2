"""A model twice, with its weights once."""

import copy
from dataclasses import replace
from itertools import chain

from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.loading import LoadedModel

# What quantised layers keep beside their weights.
_STATES = ("state", "quant_state")


def second_view(loaded: LoadedModel) -> LoadedModel:
    """The same weights in modules of their own.

    An engine at work puts hooks and an attention of its own into its modules. Those of the view are
    as the model was, so that texts can be read meanwhile. It takes no memory for weights.

    Args:
        loaded: The model, with no engine at work.
    """
    model = loaded.model
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    for module in model.modules():
        states = (getattr(module, name, None) for name in _STATES)
        shared |= {id(state): state for state in states if state is not None}
    twin = copy.deepcopy(model, shared)
    return replace(loaded, model=twin, blocks=decoder_blocks(twin))
