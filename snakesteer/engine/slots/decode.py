"""The decode step: all slots read one token each, in one computation of one shape.

Everything that differs between rows is data (token, position, vector, layer, strength, steered
steps, random numbers), so that rows of different trials and methods share the step, and on CUDA the
step is captured once in a graph and replayed.

DAC takes three slots per request: unsteered stream, probe stream, real stream. A token of it takes
two ticks: after the first, the logits of the unsteered and the probe stream give α_t; in the
second, the real stream runs with it and its logits choose the token that all three read next. Until
then the three read the same token again and write the same keys again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snakesteer.config import Operator
from snakesteer.engine.interface import Decoding
from snakesteer.engine.sampling import choose, uniforms
from snakesteer.engine.slots.attention import BLOCK, set_positions
from snakesteer.engine.slots.cache import KvShape, SlotCache
from snakesteer.engine.slots.rows import Places, RowSteering
from snakesteer.engine.watch import Watch
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.dac import Dac, dynamic_alpha
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.residual import FOREVER, Steering, stacked_places

_WARM_UPS = 2  # before a capture, so that libraries have allocated their workspaces


@dataclass(frozen=True)
class Row:
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
    steering: Steering | None = None
    factor: float = 0.0
    ticks_per_token: int = 1

    @property
    def steered_steps(self) -> tuple[int, int]:
        """First steered step, and the first behind the last one."""
        return (0, FOREVER) if self.steering is None else self.steering.steered_steps


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


class SlotDecoder:
    """State of all slots on the device, and the step that advances it.

    Args:
        loaded: The model.
        decoding: How tokens are chosen.
        steering: `RowSteering` of the model's blocks.
        shape: Of keys and values.
        slots: Number of slots.
        blocks: Blocks of keys and values per slot.
        shared: Length of the shared prefix.
        steps: Largest number of new tokens of a request.
        places: Largest number of layers that a request steers.
        compiled: Run the model through ``torch.compile``.
        watch: Who looks on, if anyone.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        decoding: Decoding,
        steering: RowSteering,
        shape: KvShape,
        slots: int,
        blocks: int,
        shared: int,
        steps: int,
        places: int = 1,
        compiled: bool = False,
        watch: Watch | None = None,
    ) -> None:
        device = loaded.device
        self.loaded = loaded
        self.decoding = decoding
        self.steering = steering
        self.slots = slots
        self.blocks = blocks
        self.shared = shared
        self.steps = steps
        self.places = places
        self.compiled = compiled
        self.watch = watch
        self.dac = False  # whether any slot runs DAC
        # What slots do beyond one addition at one layer; empty where none does.
        self.kinds: tuple[Operator, ...] = ()
        self.cache = SlotCache(shape, slots, blocks, shared, device)
        self.keys = torch.arange(shared + blocks * BLOCK, device=device)
        # Rows that have ended and go on until the next look at them must stay within the model.
        self.last = shared + blocks * BLOCK - 1
        if loaded.context is not None:
            self.last = min(self.last, loaded.context - 1)

        whole = torch.zeros(slots, dtype=torch.long, device=device)
        self.token = torch.full_like(whole, loaded.pad_id)
        self.position = torch.full_like(whole, shared)
        self.step = whole.clone()
        self.phase = whole.clone()
        self.ticks_per_token = whole.clone()  # 0: the slot is idle and never advances
        self.chooser = torch.arange(slots, device=device)
        self.layers = torch.full((slots, places), -1, device=device)
        self.relative = torch.ones(slots, places, device=device)
        self.operator = whole.clone()
        self.first_step = whole.clone()
        self.end_step = whole.clone()
        hidden = loaded.model.config.get_text_config().hidden_size
        self.vectors = torch.zeros(slots, places, hidden, device=device)
        # One more than slots: where groups of streams that are not in use write.
        self.factor = torch.zeros(slots + 1, device=device)
        self.uniform: Tensor | None = None
        if decoding.temperature > 0.0:
            exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
            self.uniform = torch.zeros(slots, steps, dtype=exact, device=device)
        groups = max(1, slots // 3)
        self.real = torch.full((groups,), slots, device=device)
        self.unsteered = torch.zeros(groups, dtype=torch.long, device=device)
        self.probe = torch.zeros(groups, dtype=torch.long, device=device)
        self.strength = torch.zeros(groups, device=device)
        self.ptop = torch.full((groups,), 0.5, device=device)
        self.max_alpha = torch.zeros(groups, device=device)
        self.threshold = torch.zeros(groups, device=device)
        self.per_token = torch.zeros(groups, dtype=torch.bool, device=device)
        self._group_of: dict[int, int] = {}  # real slot → group

        self._forward: Callable[[Tensor, Tensor], Tensor] = self._model_logits
        if compiled:
            self._forward = torch.compile(self._model_logits, dynamic=False)
        self._graphs: dict[object, tuple[Any, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def fits(self, blocks: int, shared: int, steps: int, places: int) -> bool:
        """Whether requests of this size can run in it."""
        return (
            blocks <= self.blocks
            and shared == self.shared
            and steps <= self.steps
            and places <= self.places
        )

    def start(self, rows: Sequence[Row], streams: Sequence[Streams]) -> None:
        """Give slots new work; their keys and values are put into `cache` by the caller."""
        if not rows:
            return
        device = self.token.device
        at = torch.tensor([row.slot for row in rows], device=device)

        def put(target: Tensor, values: list[Any]) -> None:
            target[at] = torch.tensor(values, dtype=target.dtype, device=device)

        put(self.token, [row.token for row in rows])
        put(self.position, [row.position for row in rows])
        put(self.chooser, [row.chooser for row in rows])
        put(self.factor, [row.factor for row in rows])
        put(self.first_step, [row.steered_steps[0] for row in rows])
        put(self.end_step, [row.steered_steps[1] for row in rows])
        put(self.ticks_per_token, [row.ticks_per_token for row in rows])
        self.step[at] = 0
        self.phase[at] = 0
        self._place(at, [row.steering for row in rows])
        if self.uniform is not None:
            self.uniform[at] = (
                torch.stack([uniforms(r.seed, self.steps) for r in rows])
                .to(self.uniform.dtype)
                .to(device)
            )
        for stream in streams:
            self._start_streams(stream)

    def _place(self, at: Tensor, steerings: Sequence[Steering | None]) -> None:
        """Give slots their layers, vectors and operators."""
        if all(steering is None for steering in steerings):
            self.layers[at] = -1
            self.vectors[at] = 0.0
            return
        layers, vectors, relative = stacked_places(steerings, self.places)
        self.layers[at] = layers.to(at.device)
        self.vectors[at] = vectors.to(at.device)
        if self.kinds:
            operators = [0 if s is None else OPERATORS.index(s.operator) for s in steerings]
            self.operator[at] = torch.tensor(operators, device=at.device)
            self.relative[at] = relative.to(at.device)

    def _start_streams(self, streams: Streams) -> None:
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
        """Make slots idle."""
        if not slots:
            return
        self.ticks_per_token[torch.tensor(slots, device=self.token.device)] = 0
        for slot in slots:
            group = self._group_of.pop(slot, None)
            if group is not None:
                self.real[group] = self.slots

    def run(self, ticks: int, used: int) -> list[list[int]]:
        """Advance all slots.

        Args:
            ticks: How often.
            used: Blocks that hold the keys of every slot that is not idle.

        Returns:
            ``[ticks][slots]`` new tokens; −1 where a slot did not choose one.
        """
        tick = self._captured(used) if self.token.is_cuda else lambda: self._tick(used)
        chosen = []
        for _ in range(ticks):
            chosen.append(tick().clone())
            if self.watch is not None:
                self.watch.stepped()
        return torch.stack(chosen).tolist()

    def logits(self, used: int) -> Tensor:
        """``[slots, vocab]`` of every slot's token, which is not advanced."""
        active = (self.step >= self.first_step) & (self.step < self.end_step)
        scale = self.factor[: self.slots] * active  # [slots]
        if self.kinds:
            alphas = scale[:, None] * self.relative
            places = Places(self.layers, self.vectors, alphas, self.operator, self.kinds)
            self.steering.set_places(places)
        else:
            delta = (scale[:, None] * self.vectors[:, 0]).to(self.loaded.dtype)
            self.steering.set(delta, self.layers[:, 0])
        self.cache.write_at(self.position - self.shared, used)
        set_positions(self.position[:, None], self.keys[: self.shared + used * BLOCK], self.shared)
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
        if self.dac:
            alpha = dynamic_alpha(
                logits[self.unsteered],
                logits[self.probe],
                self.ptop,
                self.max_alpha,
                self.threshold,
                self.per_token,
            )
            self.factor[self.real] = self.strength * alpha
        uniform = None
        if self.uniform is not None:
            now = self.step.clamp(max=self.steps - 1)
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
        key = (used, self.dac, self.kinds)
        if key not in self._graphs:
            self._graphs[key] = self._capture(used)
        graph, result = self._graphs[key]

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def _capture(self, used: int) -> tuple[Any, Tensor]:
        state = (self.token, self.position, self.step, self.phase, self.factor)
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
