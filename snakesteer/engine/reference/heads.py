"""Adding to the heads' outputs of a batch of rows that are steered alike."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor

from snakesteer.errors import UserError
from snakesteer.models.heads import Heads, find_heads
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.heads import HeadSteering


def heads_steered(
    loaded: LoadedModel, steering: HeadSteering, attention_mask: Tensor
) -> AbstractContextManager[None]:
    """Steer a batch with a strength that depends on the step alone, while the context is open.

    The first pass is the prefill, every later one a decode step of one token.

    Args:
        loaded: The model.
        steering: Of all rows; its schedule is not ``dynamic``.
        attention_mask: Not needed: the last position is never padding.

    Raises:
        UserError: A layer that the model lacks, an architecture whose heads are not found, or a
            model that reads its whole text at every step because it has no KV cache.
    """

    def adder(index: int) -> Callable[[Tensor], Tensor]:
        step = 0

        def add(outputs: Tensor) -> Tensor:
            nonlocal step
            if step > 0 and outputs.shape[1] != 1:
                raise no_cache()
            delta = steering.factor(step) * steering.delta_at(step)[index]
            step += 1
            return add_at_last(outputs, delta)

        return add

    adders = {layer: adder(index) for index, layer in enumerate(steering.layers)}
    return find_heads(loaded.model).on_outputs(adders)


def heads_steered_at(
    heads: Heads, steering: HeadSteering, step: int, factor: Tensor
) -> AbstractContextManager[None]:
    """Steer the last position of the passes in this context, which are those of one step.

    Args:
        heads: The model's.
        steering: Of all rows.
        step: Of the last position.
        factor: ``[batch]`` float32, each row's strength there.

    Raises:
        UserError: A layer that the model lacks.
    """
    delta = steering.delta_at(step)  # [layers, width]

    def adder(index: int) -> Callable[[Tensor], Tensor]:
        added = factor[:, None] * delta[index]  # [batch, width]
        return lambda outputs: add_at_last(outputs, added)

    return heads.on_outputs({layer: adder(index) for index, layer in enumerate(steering.layers)})


def add_at_last(outputs: Tensor, added: Tensor) -> Tensor:
    """``[batch, seq, width]`` with something added at the last position, as a new tensor."""
    changed = outputs.clone()
    changed[:, -1] += added.to(outputs.device, outputs.dtype)
    return changed


def no_cache() -> UserError:
    """The refusal of a model that reads its whole text again at every step."""
    return UserError(
        "The model reads its whole text again at every step, so that steering of earlier "
        "positions would be lost",
        "Use a model with a KV cache. Phi 3 and 4 with a long context read a text once more where "
        "it passes original_max_position_embeddings: lower generation.max_new_tokens for them.",
    )
