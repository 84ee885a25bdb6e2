"""A look into an engine at work: its logits, and what its hooks do to activations.

An engine whose attribute ``watch`` is set tells it of every forward pass. The logits of each
request are kept, and, where asked for, activations before and behind the engine's own hooks. What
is read goes through buffers that stay where they are, filled by operations on the device: a CUDA
graph that was captured with them fills them again at every replay, where Python hooks do not run.

Set before the engine's first call. Engines that are not watched do nothing for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snakesteer.engine.interface import Decoding, Engine
from snakesteer.models.blocks import block_output
from snakesteer.models.loading import LoadedModel

Stream = Literal["real", "unsteered", "probe"]


@dataclass(frozen=True, eq=False)
class Site:
    """A tensor that hooks may change, one per layer.

    Attributes:
        name: For messages.
        module: The module that is hooked.
        kind: Whether its output or its first input is meant.
    """

    name: str
    module: nn.Module
    kind: Literal["output", "input"] = "output"


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass at the watched sites, as the row of one request saw it.

    Attributes:
        stream: What it is; ``real`` unless the strength is dynamic.
        start: Position of the first token.
        chooses: Whether it gave logits. A pass that did not is over a part of the prompt that ends
            before the last token, and there may be padding behind it.
        ids: ``[n]`` tokens that were read.
        before: ``[sites, n, width]`` float32, without the engine's hooks.
        held: The same tensors, looked at again behind the hooks: other values were written into
            them in place.
        after: ``[sites, n, width]`` float32, what the model goes on with.
    """

    stream: Stream
    start: int
    chooses: bool
    ids: Tensor
    before: Tensor
    held: Tensor
    after: Tensor


class Watch:
    """What one engine did.

    Args:
        loaded: The engine's model.
        hooks: Whether the engine may register its hooks; without them nothing is steered.
        sites: Where to look; with sites, the engine answers one request at a time.

    Attributes:
        logits: Request → stream → ``[vocab]`` of every step, on the CPU. There may be further ones
            behind a request's last token, and they mean nothing.
        passes: In their order; empty without sites. The last ones may lie behind the last token.
        oddities: What is wrong with the form of a changed tensor.
    """

    def __init__(self, loaded: LoadedModel, hooks: bool = True, sites: Sequence[Site] = ()) -> None:
        self.loaded = loaded
        self.hooks = hooks
        self.sites = tuple(sites)
        self.logits: dict[int, dict[Stream, list[Tensor]]] = {}
        self.passes: list[Pass] = []
        self.oddities: set[str] = set()
        self._following: Mapping[int, int] = {}
        self._stream: Stream = "real"
        self._row = torch.zeros(1, dtype=torch.long, device=loaded.device)
        self._n = 0
        self._held: dict[int, Any] = {}
        self._kept: dict[tuple[str, Stream, int, int], Tensor] = {}

    def forget(self) -> None:
        """Begin anew, for another call of the same engine."""
        self.oddities.clear()
        self.logits.clear()
        self.passes.clear()

    def follow(self, rows: Mapping[int, int]) -> None:
        """Say which row of the coming passes belongs to which request.

        Args:
            rows: Request → its row.
        """
        self._following = rows
        self._row.fill_(next(iter(rows.values()), 0))

    def begin(self, stream: Stream) -> None:
        """Say what the rows of the next pass are."""
        self._stream = stream

    def keep(self, logits: Tensor, position: Tensor) -> None:
        """Keep what a decode pass gave, for `stepped`; may be captured in a graph.

        Args:
            logits: ``[batch, vocab]``.
            position: ``[batch]``, of the token that was read.
        """
        self._store("logits", 0, 0, logits)
        self._store("position", 0, 0, position)

    def stepped(self, streams: Sequence[Stream]) -> None:
        """A decode step is over, whose logits and positions `keep` was told.

        Args:
            streams: Its passes, in their order.
        """
        for stream in streams:
            self._stream = stream
            position = int(self._kept["position", stream, 0, 0][self._row])
            self.passed(1, position, self._kept["logits", stream, 0, 0])

    def passed(self, n: int, start: int, logits: Tensor | None) -> None:
        """A pass is over: take what it left in the buffers.

        Args:
            n: Tokens per row.
            start: Position of the first one (of the first request).
            logits: ``[batch, vocab]`` of the last token; None for a part of a prompt that does not
                choose a token.
        """
        if logits is not None:
            for index, row in self._following.items():
                steps = self.logits.setdefault(index, {}).setdefault(self._stream, [])
                steps.append(logits[row].to("cpu", copy=True))
        if self.sites:
            self._add_pass(n, start, logits is not None)

    @contextmanager
    def around(self, hooks: AbstractContextManager[None], stream: Stream) -> Iterator[None]:
        """The engine's hooks (unless they are kept out), with readers before and behind them."""
        self._stream = stream
        with ExitStack() as stack:

            def register(handle: RemovableHandle) -> None:
                stack.callback(handle.remove)

            if self.sites:
                embeddings = self.loaded.model.get_input_embeddings()
                register(embeddings.register_forward_pre_hook(self._read_ids))
            for index, site in enumerate(self.sites):
                register(_reader(site, self._reads_before(index)))
            if self.hooks:
                stack.enter_context(hooks)
            for index, site in enumerate(self.sites):
                register(_reader(site, self._reads_after(index)))
            yield

    def _add_pass(self, n: int, start: int, chooses: bool) -> None:
        def kept(name: str) -> Tensor:
            sites = range(len(self.sites))
            return torch.stack([self._kept[name, self._stream, s, n][0].cpu() for s in sites])

        self.passes.append(
            Pass(
                stream=self._stream,
                start=start,
                chooses=chooses,
                ids=self._kept["ids", self._stream, 0, n][0].to("cpu", copy=True),
                before=kept("before"),
                held=kept("held"),
                after=kept("after"),
            )
        )

    def _read_ids(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._n = inputs[0].shape[1]
        self._store("ids", 0, self._n, inputs[0][self._row])

    def _reads_before(self, site: int) -> Callable[[Any], None]:
        def read(output: Any) -> None:
            self._held[site] = output
            self._store("before", site, self._n, self._chosen(block_output(output)))

        return read

    def _reads_after(self, site: int) -> Callable[[Any], None]:
        def read(output: Any) -> None:
            held = self._held.pop(site)
            before, after = block_output(held), block_output(output)
            self._store("held", site, self._n, self._chosen(before))
            self._store("after", site, self._n, self._chosen(after))
            for what, was, now in (
                ("type", type(held).__name__, type(output).__name__),
                ("dtype", before.dtype, after.dtype),
                ("shape", before.shape, after.shape),
            ):
                if was != now:
                    self.oddities.add(f"the {what} of {self.sites[site].name} is {now}, not {was}")

        return read

    def _chosen(self, tensor: Tensor) -> Tensor:
        return tensor[self._row.to(tensor.device)].float()

    def _store(self, name: str, site: int, n: int, value: Tensor) -> None:
        """Into a buffer that stays where it is; it is made when it is first needed."""
        key = (name, self._stream, site, n)
        if key in self._kept and self._kept[key].shape == value.shape:
            self._kept[key].copy_(value)
        else:
            self._kept[key] = value.clone()


class WatchedEngine(Engine, Protocol):
    """An engine that can be watched.

    Attributes:
        decoding: How tokens are chosen.
        watch: Who looks on, if anyone; set before the first call.
    """

    decoding: Decoding
    watch: Watch | None


def watched(
    watch: Watch | None, hooks: AbstractContextManager[None], stream: Stream = "real"
) -> AbstractContextManager[None]:
    """An engine's hooks, with those of a watch around them if there is one.

    Args:
        watch: Who looks on, if anyone.
        hooks: The engine's own.
        stream: What requests of one row are in the passes of this context.
    """
    return hooks if watch is None else watch.around(hooks, stream)


def _reader(site: Site, read: Callable[[Any], None]) -> RemovableHandle:
    """Hook a function that only looks."""
    if site.kind == "output":
        return site.module.register_forward_hook(lambda _module, _inputs, output: read(output))
    return site.module.register_forward_pre_hook(lambda _module, inputs: read(inputs[0]))
