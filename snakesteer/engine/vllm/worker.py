"""What vLLM's workers do for steering: hooks on the blocks, and the choice of tokens.

`SteeringExtension` is mixed into vLLM's worker class (``worker_extension_cls``), in whatever
process that runs: it imports nothing of vLLM. With tensor parallelism there is a worker per rank. A
block's output is whole on each of them, as its last product is summed over the ranks, so that each
steers its own copy, once.

All that is known of vLLM's insides is in `_Inside`: the order of the requests in a step, where each
stands, and what it was sent with.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snakesteer.engine.interface import Decoding
from snakesteer.engine.sampling import choose, uniforms
from snakesteer.engine.vllm.flat import FlatBatch, FlatSteering, FlatStep
from snakesteer.models.blocks import blocks_of_depth

# What a request is sent with (``SamplingParams.extra_args``).
TICKET, STEERING, SEED = "snakesteer_ticket", "snakesteer_steering", "snakesteer_seed"
OWN = "snakesteer_own"  # whether its keys and values depend on where its prompt ends
# What is done to a request, one after the other.
Turns = tuple[FlatSteering, ...]


@dataclass(eq=False)
class Sight:
    """What a worker saw of one request, where it was asked to look.

    Attributes:
        logits: ``[vocab]`` of every step.
        passes: Position of the first token, ids, and ``[layers, n, width]`` float32 before the
            hooks, the same tensors looked at behind them, and what the model goes on with.
        chooses: Of every pass, whether it gave logits.
        oddities: What is wrong with the form of a changed output.
    """

    logits: list[Tensor] = field(default_factory=list)
    passes: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)
    chooses: list[bool] = field(default_factory=list)
    oddities: set[str] = field(default_factory=set)


class _Requests(NamedTuple):
    """The requests of a step, in the order of their tokens."""

    ids: tuple[str, ...]
    starts: list[int]
    counts: list[int]


class _Inside:
    """vLLM's model runner (``vllm.v1.worker.gpu_model_runner``, also that of CPUs), from inside."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner

    def requests(self) -> _Requests:
        """Who reads how much in the step that is about to begin, or under way."""
        batch = self.runner.input_batch
        n = batch.num_reqs
        ends = self.runner.query_start_loc.np[: n + 1]
        starts = batch.num_computed_tokens_cpu[:n]
        return _Requests(tuple(batch.req_ids[:n]), starts.tolist(), np.diff(ends).tolist())

    def ids(self, count: int) -> Tensor:
        """What is read in that step, ``[count]``."""
        found: Tensor = self.runner.input_ids.gpu[:count]
        return found

    def sent_with(self, request: str) -> Mapping[str, Any]:
        """What came along with a request."""
        return self.runner.requests[request].sampling_params.extra_args

    def prompt_tokens(self, request: str) -> int:
        """The length of a request's prompt."""
        return int(self.runner.requests[request].num_prompt_tokens)

    def limit(self, request: str) -> int:
        """The most tokens that a request may generate."""
        return int(self.runner.requests[request].sampling_params.max_tokens)


class SteeringExtension:
    """Methods that vLLM's workers get, called by name from the engine's process."""

    model_runner: Any
    rank: int

    def snakesteer_begin(self, decoding: Decoding) -> None:
        """Hook the model; once, before the first request.

        Args:
            decoding: How tokens are chosen.
        """
        self._snakesteer = _Steering(self.model_runner, decoding)

    def snakesteer_decoding(self, decoding: Decoding) -> None:
        """Choose tokens otherwise from now on."""
        self._snakesteer.decoding = decoding

    def snakesteer_steerings(self, new: Mapping[int, Turns], gone: list[int]) -> None:
        """Learn and forget steerings.

        Args:
            new: By the numbers that requests name them with.
            gone: Numbers that no request names any more.
        """
        steering = self._snakesteer
        steering.known.update(new)
        for number in gone:
            del steering.known[number]
        steering.batches = None

    def snakesteer_look(self, logits: bool, layers: bool, hooks: bool) -> None:
        """Say what is looked at from now on, and whether anything is hooked.

        Args:
            logits: Keep the logits of every request.
            layers: Keep all blocks' outputs, too, before and behind the hooks.
            hooks: Whether blocks are hooked for steering.
        """
        self._snakesteer.look(logits, layers, hooks)

    def snakesteer_seen(self) -> dict[int, Sight]:
        """What was seen since the last call, by ticket; of the first rank."""
        seen, self._snakesteer.seen = self._snakesteer.seen, {}
        return seen if self.rank == 0 else {}  # ranks see the same


class _Steering:
    """The hooks of one worker, and what they need."""

    def __init__(self, runner: Any, decoding: Decoding) -> None:
        self.inside = _Inside(runner)
        self.decoding = decoding
        self.device: torch.device = runner.device
        self.known: dict[int, Turns] = {}
        self.batches: list[FlatBatch] | None = None  # one for each turn of steering
        self.seen: dict[int, Sight] = {}
        self._ids: tuple[str, ...] = ()
        self._requests = _Requests((), [], [])
        self._steps: list[FlatStep] = []
        self._logits = self._layers = False
        self._handles: list[Any] = []
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []  # of every layer, while it is looked
        self._form: set[str] = set()
        self._read: Tensor | None = None
        self._numbers: dict[str, Tensor] = {}
        model = runner.get_model()
        depth = runner.model_config.hf_text_config.num_hidden_layers
        self.blocks = blocks_of_depth(model, depth)
        model.register_forward_pre_hook(self._begin)
        self._compute_logits = model.compute_logits
        model.compute_logits = self._choose
        self.look(False, False, True)

    def look(self, logits: bool, layers: bool, hooks: bool) -> None:
        self._logits, self._layers = logits, layers
        self.seen.clear()
        for handle in self._handles:
            handle.remove()
        self._handles = [
            block.register_forward_hook(self._hook(layer, hooks))
            for layer, block in enumerate(self.blocks)
            if hooks or layers
        ]

    def _begin(self, _model: nn.Module, _inputs: Any) -> None:
        """Before a step: which tokens are whose, and which are steered."""
        now = self.inside.requests()
        self._requests = now
        ids = self.inside.ids(sum(now.counts))
        self._read = ids
        self._held.clear()
        if self.batches is None or now.ids != self._ids:
            sent = [self.inside.sent_with(one)[STEERING] for one in now.ids]
            prompts = [self.inside.prompt_tokens(one) for one in now.ids]
            parts = [() if number is None else self.known[number] for number in sent]
            self.batches = [
                FlatBatch(turn, prompts, self.device) for turn in itertools.zip_longest(*parts)
            ]
            self._ids = now.ids
            if self.decoding.temperature > 0.0:
                self._numbers = {one: self._stream_of(one) for one in now.ids}

        def read() -> NDArray[np.integer]:
            return ids.cpu().numpy()

        self._steps = [
            FlatStep(one, *one.steered(now.starts, now.counts, read)) for one in self.batches
        ]

    def _stream_of(self, request: str) -> Tensor:
        """The random numbers of a request, ``[tokens]``."""
        if request in self._numbers:
            return self._numbers[request]
        return uniforms(self.inside.sent_with(request)[SEED], self.inside.limit(request))

    def _hook(self, layer: int, steers: bool) -> Callable[..., Any]:
        def change(_block: nn.Module, _inputs: Any, output: Any) -> Any:
            if not self._layers:
                return self._changed(layer, output) if steers else None
            before = _seen(output)
            new = self._changed(layer, output) if steers else None
            after = output if new is None else new
            self._held.append((before, _seen(output), _seen(after)))
            for what, was, is_now in (
                ("type", type(output).__name__, type(after).__name__),
                ("dtype", _stream(output).dtype, _stream(after).dtype),
                ("shape", _stream(output).shape, _stream(after).shape),
            ):
                if was != is_now:
                    self._form.add(
                        f"the {what} of the output of block {layer} is {is_now}, not {was}"
                    )
            return new

        return change

    def _changed(self, layer: int, output: Any) -> Any:
        """A block's output in its own form; None where nothing is steered."""
        steps = [step for step in self._steps if step.steers(layer)]
        if not steps:
            return None
        hidden, residual = _parts(output)
        flat = hidden.reshape(-1, hidden.shape[-1])
        for step in steps:
            flat, residual = step.change(layer, flat, residual)
        changed = flat.reshape(hidden.shape)
        if residual is not None:
            return (changed, residual)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    def _choose(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor | None:
        """In place of the model's ``compute_logits``: looks at logits, and samples."""
        logits = self._compute_logits(hidden, *args, **kwargs)
        now = self._requests
        if logits is None or len(now.ids) != len(logits):  # not the step's last positions
            return logits
        if self._logits:
            self._keep(logits)
        if self.decoding.temperature == 0.0:
            return logits
        steps = [
            start + count - self.inside.prompt_tokens(one)
            for one, start, count in zip(now.ids, now.starts, now.counts, strict=True)
        ]
        # A prompt that is read in part gives logits, too; what is chosen there is thrown away.
        numbers = [
            float(self._numbers[one][max(step, 0)])
            for one, step in zip(now.ids, steps, strict=True)
        ]
        uniform = torch.tensor(numbers, dtype=torch.float64)
        chosen = choose(logits, self.decoding, uniform.to(logits.device))
        return torch.full_like(logits, -torch.inf).scatter(-1, chosen[:, None], 0.0)

    def _keep(self, logits: Tensor) -> None:
        ends = np.cumsum(self._requests.counts)
        assert self._read is not None
        for row, (one, start, count) in enumerate(zip(*self._requests, strict=True)):
            sight = self.seen.setdefault(self.inside.sent_with(one)[TICKET], Sight())
            chooses = start + count >= self.inside.prompt_tokens(one)
            if chooses:
                sight.logits.append(logits[row].to("cpu", copy=True))
            if self._layers:
                own = slice(int(ends[row]) - count, int(ends[row]))
                before, held, after = (
                    torch.stack([part[own].cpu() for part in parts])
                    for parts in zip(*self._held, strict=True)
                )
                sight.passes.append(
                    (start, self._read[own].to("cpu", copy=True), before, held, after)
                )
                sight.chooses.append(chooses)
                sight.oddities |= self._form
        self._form.clear()


def _parts(output: Any) -> tuple[Tensor, Tensor | None]:
    """What a block returned: the residual stream, or two summands of it, both of one shape."""
    if isinstance(output, Tensor):
        return output, None
    first, *others = output
    second = others[0] if len(others) == 1 else None
    pair = isinstance(second, Tensor) and second.shape == first.shape
    return first, second if pair else None


def _seen(output: Any) -> Tensor:
    """``[tokens, width]`` float32, which nobody else writes to."""
    stream = _stream(output)
    return stream.reshape(-1, stream.shape[-1]).to(torch.float32, copy=True)


def _stream(output: Any) -> Tensor:
    hidden, residual = _parts(output)
    return hidden if residual is None else hidden + residual
