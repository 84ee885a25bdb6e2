"""The decode step: all slots read one token each, in one computation of one shape.

Everything that differs between rows is data (token, position, vector, layer, strength, steered
steps, random numbers), so that rows of different trials and methods share the step, and on CUDA the
step is captured once in a graph and replayed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.sampling import choose, uniforms
from snakesteer.engine.slots.attention import BLOCK, set_positions
from snakesteer.engine.slots.cache import KvShape, SlotCache
from snakesteer.engine.slots.capacity import Capacity
from snakesteer.engine.slots.dac import TICKS_PER_TOKEN, StreamGroups, Streams
from snakesteer.engine.slots.rows import (
    RowSteering,
    SteeredRows,
    needed_operators,
    residual_steering,
    write_column,
)
from snakesteer.engine.watch import Watch
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.residual import ResidualSteering

_WARM_UPS = 2  # before a capture, so that libraries have allocated their workspaces


@dataclass(frozen=True)
class SlotStart:
    """What one slot starts with.

    Attributes:
        slot: The slot.
        token: Read first; the last prompt token.
        position: Its absolute position.
        chooser: The slot whose logits choose this one's tokens (itself, but for DAC).
        seed: Of the random stream.
        steering: Layers, vectors, operator and steered steps; None if not steered.
        factor: The strength at the steering's first layer.
        ticks_per_token: 1, or 2 under DAC.
    """

    slot: int
    token: int
    position: int
    chooser: int
    seed: int
    steering: ResidualSteering | None = None
    factor: float = 0.0
    ticks_per_token: int = 1


def slot_starts(request: Request, slots: Sequence[int]) -> list[SlotStart]:
    """What the slots of a request start with.

    Args:
        request: The request.
        slots: Its slot; under DAC those of its real, unsteered and probe stream.
    """

    def start(slot: int, steering: ResidualSteering | None, factor: float) -> SlotStart:
        return SlotStart(
            slot=slot,
            token=request.prompt_ids[-1],
            position=len(request.prompt_ids) - 1,
            chooser=slots[0],
            seed=request.seed,
            steering=steering,
            factor=factor,
            ticks_per_token=TICKS_PER_TOKEN if request.is_dynamic else 1,
        )

    steering = residual_steering(request)
    if steering is None:
        return [start(slots[0], None, 0.0)]
    if steering.dac is None:
        return [start(slots[0], steering, steering.alpha)]
    real, unsteered, probe = slots
    return [
        start(real, steering, 0.0),  # its factor is α · α_t, set after the first tick
        start(unsteered, None, 0.0),
        start(probe, steering, steering.dac.probe_alpha),
    ]


class SlotDecoder:
    """State of all slots on the device, and the step that advances it.

    Args:
        loaded: The model.
        decoding: How tokens are chosen.
        steering: `RowSteering` of the model's blocks.
        shape: Of keys and values.
        capacity: What there is room for.
        compiled: Run the model through ``torch.compile``.
        watch: Who looks on, if anyone.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        decoding: Decoding,
        steering: RowSteering,
        shape: KvShape,
        capacity: Capacity,
        compiled: bool = False,
        watch: Watch | None = None,
    ) -> None:
        device, slots = loaded.device, capacity.slots
        self.loaded = loaded
        self.decoding = decoding
        self.steering = steering
        self.capacity = capacity
        self.compiled = compiled
        self.watch = watch
        self.cache = SlotCache(shape, slots, capacity.blocks, capacity.shared, device)
        self.keys = torch.arange(capacity.length, device=device)
        # Rows that have ended and go on until the next look at them must stay within the model.
        self.last = capacity.length - 1
        if loaded.context is not None:
            self.last = min(self.last, loaded.context - 1)

        self.token = torch.full((slots,), loaded.pad_id, device=device)
        self.position = torch.full((slots,), capacity.shared, device=device)
        self.step = torch.zeros(slots, dtype=torch.long, device=device)
        self.phase = torch.zeros_like(self.step)  # ticks since the token was first read
        self.ticks_per_token = torch.zeros_like(self.step)  # 0: it is idle and never advances
        self.chooser = torch.arange(slots, device=device)
        self.uniform: Tensor | None = None
        if decoding.temperature > 0.0:
            exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
            self.uniform = torch.zeros(slots, capacity.steps, dtype=exact, device=device)
        self.rows = SteeredRows(loaded, slots, capacity.places)
        self.groups = StreamGroups(slots, device)
        self.any_dac = False  # whether the step looks at the groups

        self._forward: Callable[[Tensor, Tensor], Tensor] = self._model_logits
        if compiled:
            self._forward = torch.compile(self._model_logits, dynamic=False)
        self._graphs: dict[object, tuple[Any, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def begin(self, steerings: Sequence[ResidualSteering | None]) -> None:
        """Make all slots idle, and the step compute what slots under these steerings need."""
        self.any_dac = any(one is not None and one.dac is not None for one in steerings)
        self.rows.computed = needed_operators(steerings)
        self.stop(range(self.capacity.slots))

    def start(self, starts: Sequence[SlotStart], streams: Sequence[Streams]) -> None:
        """Give slots new work; their keys and values are put into `cache` by the caller."""
        if not starts:
            return
        at = torch.tensor([one.slot for one in starts], device=self.token.device)
        write_column(self.token, at, [one.token for one in starts])
        write_column(self.position, at, [one.position for one in starts])
        write_column(self.chooser, at, [one.chooser for one in starts])
        write_column(self.ticks_per_token, at, [one.ticks_per_token for one in starts])
        self.step[at] = 0
        self.phase[at] = 0
        self.rows.put(at, [one.steering for one in starts], [one.factor for one in starts])
        if self.uniform is not None:
            numbers = torch.stack([uniforms(one.seed, self.capacity.steps) for one in starts])
            self.uniform[at] = numbers.to(self.uniform.dtype).to(at.device)
        for group in streams:
            self.groups.start(group)

    def stop(self, slots: Sequence[int]) -> None:
        """Make slots idle."""
        if not slots:
            return
        self.ticks_per_token[torch.tensor(slots, device=self.token.device)] = 0
        self.groups.stop(slots)

    def blocks_for(self, positions: int) -> int:
        """Blocks to compute so that so many positions are seen: few different numbers.

        Args:
            positions: Counted from the end of the shared prefix.
        """
        if self.compiled:
            return self.capacity.blocks  # each number would be compiled on its own
        needed = -(-positions // BLOCK)
        step = max(1, 2 ** (needed.bit_length() - 2))  # 1, 2, 3, 4, 6, 8, 12, 16 …
        return min(-(-needed // step) * step, self.capacity.blocks)

    def run(self, ticks: int, used: int) -> tuple[list[list[int]], list[list[float]]]:
        """Advance all slots.

        Args:
            ticks: How often.
            used: Blocks that hold the keys of every slot that is not idle.

        Returns:
            ``[ticks][slots]`` new tokens, −1 where a slot did not choose one; and the α_t with
            which real streams chose them, ``[ticks][slots + 1]``, empty where nothing is under DAC.
        """
        tick = self._captured(used) if self.token.is_cuda else lambda: self._tick(used)
        chosen, alphas = [], []
        for _ in range(ticks):
            chosen.append(tick().clone())
            if self.any_dac:
                alphas.append(self.groups.alpha_t.clone())
            if self.watch is not None:
                self.watch.stepped()
        return torch.stack(chosen).tolist(), torch.stack(alphas).tolist() if alphas else []

    def logits(self, used: int) -> Tensor:
        """``[slots, vocab]`` of every slot's token, which is not advanced."""
        self.steering.set(self.rows, self.rows.scale_at(self.step))
        shared = self.capacity.shared
        self.cache.write_at(self.position - shared, used)
        set_positions(self.position[:, None], self.keys[: shared + used * BLOCK], shared)
        return self._forward(self.token[:, None], self.position[:, None])

    def _model_logits(self, ids: Tensor, positions: Tensor) -> Tensor:
        output = self.loaded.model(
            input_ids=ids, position_ids=positions, past_key_values=self.cache, use_cache=True
        )
        return output.logits[:, -1]

    def _tick(self, used: int) -> Tensor:
        """One step; ``[slots]`` new tokens, −1 where none was chosen."""
        logits = self.logits(used)
        if self.watch is not None:
            self.watch.keep(logits, self.position)
        if self.any_dac:
            self.groups.set_factor(self.rows.factor, logits)
        uniform = None
        if self.uniform is not None:
            now = self.step.clamp(max=self.capacity.steps - 1)
            uniform = self.uniform.gather(1, now[:, None])[:, 0]
        chosen = choose(logits, self.decoding, uniform)[self.chooser]
        advances = self.phase + 1 == self.ticks_per_token
        self.token.copy_(torch.where(advances, chosen, self.token))
        self.position.add_(advances).clamp_(max=self.last)
        self.step.add_(advances)
        self.phase.copy_(torch.where(advances, 0, self.phase + 1))
        return torch.where(advances, chosen, -1)

    def _captured(self, used: int) -> Callable[[], Tensor]:
        """The step as a CUDA graph, captured when it is first asked for."""
        key = (used, self.any_dac, self.rows.computed)
        if key not in self._graphs:
            self._graphs[key] = self._capture(used)
        graph, result = self._graphs[key]

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def _capture(self, used: int) -> tuple[Any, Tensor]:
        state = (self.token, self.position, self.step, self.phase, self.rows.factor)
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._tick(used)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # One pool of memory for all: they never run at once, and results are copied out.
        with torch.cuda.graph(graph, pool=self._pool):
            result = self._tick(used)
        # What the warm-up wrote into the cache is written again from the restored state.
        for tensor, saved in zip(state, before, strict=True):
            tensor.copy_(saved)
        return graph, result
