"""DAC in the slots: three streams of one text, which share the blocks below the steered layer.

A slot holds one text. At every step the unsteered stream reads the latest token through all blocks;
the probe stream, steered at α₀, and then the real stream, steered at α · α_t, go on from the
unsteered one's hidden state behind the first steered block. Below it the three are equal, down to
the bit: they read the same token behind the same keys. Above it each has keys of its own. The real
stream's logits choose the next token, which all three read next.

Every pass computes all slots, so that what a row computes does not depend on its neighbours; and
passes of one shape give the real stream at strength 0 the bits of an unsteered answer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snakesteer.engine.slots.columns import write_column
from snakesteer.models.blocks import block_output, blocks_computing, replace_block_output
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.dac import Dac, dynamic_alpha


class DynamicRows:
    """The parameters of every slot's dynamic strength, on the device.

    Args:
        slots: Number of slots.
        device: Where the state lives.

    Attributes:
        alpha_t: ``[slots]`` float32, α_t of the token that was read last.
    """

    def __init__(self, slots: int, device: torch.device) -> None:
        self.alpha_t = torch.zeros(slots, device=device)
        self.strength = torch.zeros(slots, device=device)
        self.probe_alpha = torch.zeros(slots, device=device)
        self.ptop = torch.full((slots,), 0.5, device=device)
        self.max_alpha = torch.zeros(slots, device=device)
        self.threshold = torch.zeros(slots, device=device)
        self.per_token = torch.zeros(slots, dtype=torch.bool, device=device)

    def put(self, at: Tensor, strengths: Sequence[float], dacs: Sequence[Dac]) -> None:
        """Set the parameters of some slots.

        Args:
            at: ``[n]`` int64, which slots.
            strengths: n factors on α_t.
            dacs: n of them.
        """
        write_column(self.strength, at, strengths)
        write_column(self.probe_alpha, at, [dac.probe_alpha for dac in dacs])
        write_column(self.ptop, at, [dac.ptop for dac in dacs])
        write_column(self.max_alpha, at, [dac.max_alpha for dac in dacs])
        write_column(self.threshold, at, [dac.entropy_threshold for dac in dacs])
        write_column(self.per_token, at, [dac.kl == "per_token" for dac in dacs])

    def real_alpha(self, unsteered: Tensor, probe: Tensor) -> Tensor:
        """``[slots]`` α · α_t from two streams' logits ``[slots, vocab]``; sets `alpha_t`."""
        alpha = dynamic_alpha(
            unsteered, probe, self.ptop, self.max_alpha, self.threshold, self.per_token
        )
        self.alpha_t.copy_(alpha)
        return self.strength * alpha


class Parting:
    """Hidden states of the unsteered stream where the others of its text leave it.

    Args:
        loaded: The model.
        slots: Number of slots.

    Attributes:
        block: ``[slots]`` int64, the block behind which a slot's streams part; −1 if before the
            first one.
    """

    def __init__(self, loaded: LoadedModel, slots: int) -> None:
        hidden = loaded.model.config.get_text_config().hidden_size
        self.blocks: list[nn.Module] = loaded.blocks
        self.block = torch.full((slots,), -1, device=loaded.device)
        self._hidden = torch.zeros(slots, 1, hidden, device=loaded.device, dtype=loaded.dtype)
        self._form: Any = None  # what a block returns

    @contextmanager
    def kept(self, common: int | None) -> Iterator[None]:
        """A context whose forward pass is the unsteered stream's: hidden states are kept.

        Args:
            common: Number of blocks that all slots' streams share; None keeps nothing.
        """

        def keeping(layer: int, forward: Callable[..., Any]) -> Callable[..., Any]:
            def keep(*args: Any, **kwargs: Any) -> Any:
                output = forward(*args, **kwargs)
                here = (self.block == layer)[:, None, None]
                self._hidden.copy_(torch.where(here, block_output(output), self._hidden))
                self._form = output
                return output

            return keep

        first = len(self.blocks) if common is None else max(0, common - 1)
        with self._computing(keeping, range(first, len(self.blocks))):
            yield
        if self._form is not None:
            self._form = replace_block_output(self._form, self._hidden)

    @contextmanager
    def resumed(self, common: int | None) -> Iterator[None]:
        """A context whose forward pass goes on from there: common blocks compute nothing.

        Args:
            common: As in `kept`.
        """

        def resuming(layer: int, forward: Callable[..., Any]) -> Callable[..., Any]:
            def resume(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
                if common is not None and layer < common:
                    output = replace_block_output(self._form, hidden_states)
                else:
                    output = forward(hidden_states, *args, **kwargs)
                here = (self.block == layer)[:, None, None]
                hidden = torch.where(here, self._hidden, block_output(output))
                return replace_block_output(output, hidden)

            return resume

        with self._computing(resuming, range(0 if common is None else len(self.blocks))):
            yield

    @contextmanager
    def _computing(
        self, around: Callable[[int, Callable[..., Any]], Callable[..., Any]], layers: range
    ) -> Iterator[None]:
        own = {layer: around(layer, self.blocks[layer].forward) for layer in layers}
        with blocks_computing(self.blocks, own):
            yield
