"""DAC in the slots: three slots per request, and the strength that their logits give.

The slots hold the unsteered stream, the probe stream and the real stream of one text. A token takes
two ticks: after the first, the logits of the unsteered and the probe stream give α_t; in the
second, the real stream runs with it and its logits choose the token that all three read next. Until
then the three read the same token again and write the same keys again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snakesteer.steering.dac import Dac, dynamic_alpha

SLOTS_PER_REQUEST = 3
TICKS_PER_TOKEN = 2


@dataclass(frozen=True)
class Streams:
    """The three slots of a request under DAC.

    Attributes:
        real: Slot of the steered stream.
        unsteered: Slot of the stream without steering.
        probe: Slot of the stream steered at α₀.
        strength: The request's α, a factor on α_t.
        dac: Parameters.
    """

    real: int
    unsteered: int
    probe: int
    strength: float
    dac: Dac


class StreamGroups:
    """The streams of all requests under DAC, on the device.

    There are as many groups as the slots have room for. A group that is not in use computes, too,
    and writes where nobody reads: what is computed is the same however many are in use.

    Args:
        slots: Number of slots.
        device: Where the state lives.

    Attributes:
        alpha_t: ``[slots + 1]`` float32, α_t of the token that a real stream reads; other entries
            mean nothing.
    """

    def __init__(self, slots: int, device: torch.device) -> None:
        groups = max(1, slots // SLOTS_PER_REQUEST)
        self.nowhere = slots  # behind the last slot
        self.alpha_t = torch.zeros(slots + 1, device=device)
        self.real = torch.full((groups,), self.nowhere, device=device)
        self.unsteered = torch.zeros(groups, dtype=torch.long, device=device)
        self.probe = torch.zeros(groups, dtype=torch.long, device=device)
        self.strength = torch.zeros(groups, device=device)
        self.ptop = torch.full((groups,), 0.5, device=device)
        self.max_alpha = torch.zeros(groups, device=device)
        self.threshold = torch.zeros(groups, device=device)
        self.per_token = torch.zeros(groups, dtype=torch.bool, device=device)
        self._group_of: dict[int, int] = {}  # real slot → group

    def start(self, streams: Streams) -> None:
        """Give a request's streams a group."""
        taken = set(self._group_of.values())
        group = next(group for group in range(len(self.real)) if group not in taken)
        self._group_of[streams.real] = group
        self.real[group] = streams.real
        self.unsteered[group] = streams.unsteered
        self.probe[group] = streams.probe
        self.strength[group] = streams.strength
        self.ptop[group] = streams.dac.ptop
        self.max_alpha[group] = streams.dac.max_alpha
        self.threshold[group] = streams.dac.entropy_threshold
        self.per_token[group] = streams.dac.kl == "per_token"

    def stop(self, slots: Sequence[int]) -> None:
        """Free the groups whose real stream is in one of these slots."""
        for slot in slots:
            group = self._group_of.pop(slot, None)
            if group is not None:
                self.real[group] = self.nowhere

    def set_factor(self, factor: Tensor, logits: Tensor) -> None:
        """Set the factor of all real streams, and their `alpha_t`, in place.

        Args:
            factor: ``[slots + 1]`` float32; groups that are not in use write into the last one.
            logits: ``[slots, vocab]`` of every slot's token.
        """
        alpha = dynamic_alpha(
            logits[self.unsteered],
            logits[self.probe],
            self.ptop,
            self.max_alpha,
            self.threshold,
            self.per_token,
        )
        self.alpha_t[self.real] = alpha
        factor[self.real] = self.strength * alpha
