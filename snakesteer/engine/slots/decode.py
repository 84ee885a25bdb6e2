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

from snakesteer.engine.interface import Decoding
from snakesteer.engine.sampling import choose, uniforms
from snakesteer.engine.slots.attention import BLOCK, set_positions
from snakesteer.engine.slots.beside import BesideRows
from snakesteer.engine.slots.cache import KvShape, SlotCache
from snakesteer.engine.slots.capacity import Capacity
from snakesteer.engine.slots.columns import StepStrengths, write_column
from snakesteer.engine.slots.dac import DynamicRows, Parting
from snakesteer.engine.slots.head_rows import HeadRows
from snakesteer.engine.slots.rows import RowSteering, SteeredRows
from snakesteer.engine.slots.token_rows import TokenRows
from snakesteer.engine.watch import Stream, Watch
from snakesteer.models.arguments import cache_argument
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.residual import ResidualSteering

# The passes of a step under a dynamic strength; others have the last one alone.
STREAMS: tuple[Stream, ...] = ("unsteered", "probe", "real")

_WARM_UPS = 2  # before a capture, so that libraries have allocated their workspaces


@dataclass(frozen=True)
class SlotStart:
    """What one slot starts with.

    Attributes:
        slot: The slot.
        token: Read first; the last prompt token.
        position: Its absolute position.
        seed: Of the random stream.
        steering: Layers, vectors, operator, steered steps and strength; None if no output of a
            block is steered.
        heads: What is added to attention heads, in place of that.
        heads_at: The place of its vectors, see `HeadRows.fill`.
        parting: See `snakesteer.engine.slots.capacity.parting`.
        prefix: Which of the shared prefixes it has.
    """

    slot: int
    token: int
    position: int
    seed: int = 0
    steering: ResidualSteering | None = None
    heads: HeadSteering | None = None
    heads_at: int = 0
    parting: int = -1
    prefix: int = 0


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
        self.cache = SlotCache(shape, capacity, device)
        self.keys = torch.arange(capacity.length, device=device)
        # Rows that have ended and go on until the next look at them must stay within the model.
        self.last = capacity.length - 1
        if loaded.context is not None:
            self.last = min(self.last, loaded.context - 1)

        self.token = torch.full((slots,), loaded.pad_id, device=device)
        self.position = torch.full((slots,), capacity.shared, device=device)
        self.step = torch.zeros(slots, dtype=torch.long, device=device)
        self.active = torch.zeros(slots, dtype=torch.bool, device=device)  # others never advance
        self.uniform: Tensor | None = None
        if decoding.temperature > 0.0:
            self.uniform = torch.zeros(slots, capacity.steps, device=device)
        self.rows = SteeredRows(loaded, slots, capacity.places)
        self.strengths = StepStrengths(slots, device)
        self.tokens = TokenRows(loaded, slots)
        self.beside = [
            BesideRows(loaded, slots, capacity.places, part) for part in range(1, capacity.parts)
        ]
        self.heads: HeadRows | None = None
        if capacity.head_steps:
            self.heads = HeadRows(steering.heads, slots, capacity.head_steps, device)
        # Compiled code is one piece, and whoever looks on wants to see all of it.
        self._shares = not (compiled or (watch is not None and watch.sites))
        if capacity.dynamic:
            self.dynamic = DynamicRows(slots, device)
            self.parting = Parting(loaded, slots)
            self.probe_cache = SlotCache(shape, capacity, device, beside=self.cache)
            self.real_cache = SlotCache(shape, capacity, device, beside=self.cache)

        self._started: dict[int, SlotStart] = {}  # by the slots that are not idle
        self._prefixes = 1  # that they have
        self._cache_argument = cache_argument(loaded.model)
        self._forward: Callable[[Tensor, Tensor, SlotCache], Tensor] = self._model_logits
        if compiled:
            self._forward = torch.compile(self._model_logits, dynamic=False)
        self._graphs: dict[object, tuple[Any, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def fill(self, slot: int, prompt: Tensor | None) -> None:
        """Put a prompt's keys and values into a slot, for all streams: see `SlotCache.fill`."""
        self.cache.fill(slot, prompt)
        if self.capacity.dynamic:
            self.probe_cache.fill(slot, prompt)
            self.real_cache.fill(slot, prompt)

    def start(self, starts: Sequence[SlotStart]) -> None:
        """Give slots new work; their keys and values are put into `fill` by the caller."""
        if not starts:
            return
        at = torch.tensor([one.slot for one in starts], device=self.token.device)
        write_column(self.token, at, [one.token for one in starts])
        write_column(self.position, at, [one.position for one in starts])
        write_column(self.cache.prefix, at, [one.prefix for one in starts])
        self.active[at] = True
        self.step[at] = 0
        self.rows.put(at, [one.steering for one in starts])
        for more in self.beside:
            more.put(at, [one.steering for one in starts])
        if self.heads is not None:
            self.heads.put(at, [(one.heads, one.heads_at) for one in starts])
        steerings = [one.steering or one.heads for one in starts]
        self.strengths.put(at, steerings)
        self.tokens.put(at, steerings)
        if self.capacity.dynamic:
            found = [s for s in steerings if s is not None and s.dac is not None]
            self.dynamic.put(at, [s.alpha for s in found], [s.dac for s in found if s.dac])
            write_column(self.parting.block, at, [one.parting for one in starts])
        if self.uniform is not None:
            numbers = torch.stack([uniforms(one.seed, self.capacity.steps) for one in starts])
            self.uniform[at] = numbers.float().to(at.device)  # `choose` uses no more
        self._started |= {one.slot: one for one in starts}
        self._look()

    def stop(self, slots: Sequence[int]) -> None:
        """Make slots idle."""
        if not slots:
            return
        self.active[torch.tensor(slots, device=self.token.device)] = False
        for slot in slots:
            self._started.pop(slot, None)
        self._look()

    def _look(self) -> None:
        """Let the step compute what the slots need that are not idle, and no more."""
        started = self._started.values()
        steerings = [one.steering for one in started]
        self.rows.needed(steerings)
        for more in self.beside:
            more.look(steerings)
        if self.heads is not None:
            self.heads.computed = any(one.heads is not None for one in started)
        self._prefixes = 1 + max((one.prefix for one in started), default=0)

    @property
    def common(self) -> int | None:
        """Blocks that the streams of all slots share, so that a token is computed there once.

        None where no slot's streams share any. At 0 some slots' may: all are computed, and what
        these find in blocks that they share is not used.
        """
        if not self._shares:
            return None
        return min((one.parting + 1 for one in self._started.values()), default=0)

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
            ``[ticks][slots]`` new tokens, and what is noted of each: under a dynamic strength its
            α_t, where gates are computed 1 if it was steered and 0 if not, else nothing: the list
            is empty. What idle slots have means nothing.
        """
        common = self.common
        tick = self._captured(used, common) if self.token.is_cuda else None
        chosen, noted = [], []
        for _ in range(ticks):
            chosen.append((self._tick(used, common) if tick is None else tick()).clone())
            if self.capacity.dynamic:
                noted.append(self.dynamic.alpha_t.clone())
            elif self.rows.gates.computed:
                noted.append(self.rows.gates.steered.clone())
            if self.watch is not None:
                self.watch.stepped(STREAMS if self.capacity.dynamic else STREAMS[-1:])
        return torch.stack(chosen).tolist(), torch.stack(noted).tolist() if noted else []

    def logits(self, used: int, common: int | None = None) -> Tensor:
        """``[slots, vocab]`` that choose every slot's next token; no slot is advanced.

        Args:
            used: As in `run`.
            common: Under a dynamic strength, blocks that are computed once for all streams.
                None lets every stream compute all that it needs.
        """
        shared = self.capacity.shared
        set_positions(self.position[:, None], self.keys[: shared + used * BLOCK], shared)
        if not self.capacity.dynamic:
            scale = self.strengths.at(self.step) * self.tokens.at(self.token)
            found = self._pass("real", self.cache, used, scale)
            if self.rows.gates.computed:
                self.rows.gates.note(scale)
            return found
        with self.parting.kept(common):
            unsteered = self._pass("unsteered", self.cache, used, None)
        with self.parting.resumed(common):
            probe = self._pass("probe", self.probe_cache, used, self.dynamic.probe_alpha)
            alpha = self.dynamic.real_alpha(unsteered, probe)
            return self._pass("real", self.real_cache, used, alpha)

    def _pass(self, stream: Stream, cache: SlotCache, used: int, scale: Tensor | None) -> Tensor:
        """``[slots, vocab]`` of every slot's token in one stream.

        Args:
            stream: Which.
            cache: Its keys and values.
            used: As in `run`.
            scale: ``[slots]``, the strength of each row (in a band, at its first layer); None
                steers nothing.
        """
        if scale is None:
            self.steering.clear()
        else:
            beside = (more.at(self.step, self.token) for more in self.beside)
            self.steering.set(self.rows, scale, beside)
            if self.heads is not None:
                self.heads.steer(scale, self.step)
        cache.write_at(self.position - self.capacity.shared, used, self._prefixes)
        if self.watch is not None:
            self.watch.begin(stream)
        logits = self._forward(self.token[:, None], self.position[:, None], cache)
        if self.watch is not None:
            self.watch.keep(logits, self.position)
        return logits

    def _model_logits(self, ids: Tensor, positions: Tensor, cache: SlotCache) -> Tensor:
        keys = {self._cache_argument: cache}
        output = self.loaded.model(input_ids=ids, position_ids=positions, use_cache=True, **keys)
        return output.logits[:, -1]

    def _tick(self, used: int, common: int | None) -> Tensor:
        """One step; ``[slots]`` new tokens."""
        logits = self.logits(used, common)
        uniform = None
        if self.uniform is not None:
            now = self.step.clamp(max=self.capacity.steps - 1)
            uniform = self.uniform.gather(1, now[:, None])[:, 0]
        chosen = choose(logits, self.decoding, uniform)
        self.token.copy_(torch.where(self.active, chosen, self.token))
        self.position.add_(self.active).clamp_(max=self.last)
        self.step.add_(self.active)
        return chosen

    def _captured(self, used: int, common: int | None) -> Callable[[], Tensor]:
        """The step as a CUDA graph, captured when it is first asked for."""
        heads = self.heads is not None and self.heads.computed
        sets = len(self.tokens.table)  # with one more, it is another tensor
        beside = tuple(more.captured for more in self.beside)
        computed = (self.rows.computed, self.rows.gates.computed, heads, beside)
        key = (used, common, self._prefixes, computed, sets)
        if key not in self._graphs:
            self._graphs[key] = self._capture(used, common)
        graph, result = self._graphs[key]

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def _capture(self, used: int, common: int | None) -> tuple[Any, Tensor]:
        state = (self.token, self.position, self.step)
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._tick(used, common)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # One pool of memory for all: they never run at once, and results are copied out.
        with torch.cuda.graph(graph, pool=self._pool):
            result = self._tick(used, common)
        # What the warm-up wrote into the cache is written again from the restored state.
        for tensor, saved in zip(state, before, strict=True):
            tensor.copy_(saved)
        return graph, result
