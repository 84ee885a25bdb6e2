"""Which tokens of a flattened batch are steered, and how.

vLLM lays the tokens that it reads in one step end to end, without padding: a request that decodes
has one of them, a prompt many, and of a long prompt there is only a part. Which request a token is
of, and at which position, follows from where each request stands and how many tokens it reads. The
rest is arithmetic with positions (`snakesteer.steering.positions`), the same whether a prompt is
read in parts, from a cache, or once more after its memory was taken away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snakesteer.config import Operator
from snakesteer.steering.operators import OPERATORS, apply_operator
from snakesteer.steering.positions import Steps
from snakesteer.steering.residual import ResidualSteering, stacked_axes, stacked_places

Wholes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FlatSteering:
    """What a worker needs to know of a steering, on the CPU.

    Attributes:
        operator: What the vectors do.
        layers: That are steered.
        vectors: ``[layers, hidden]`` float32.
        axes: Likewise, for ``rotate``; 0 for other operators.
        strengths: ``[layers]`` float32.
        steps: See `Positions.steered_steps`.
        spared: See `Positions.spared_steps`.
        prompt: Whether prompt positions before the last one are steered.
        table: ``[vocab]`` bool, which tokens are steered; None for all.
    """

    operator: Operator
    layers: tuple[int, ...]
    vectors: Tensor
    axes: Tensor
    strengths: Tensor
    steps: Steps
    spared: Steps
    prompt: bool
    table: Tensor | None = None


def flat_steering(steering: ResidualSteering, table: Tensor | None) -> FlatSteering:
    """A steering of constant strength as workers take it.

    Args:
        steering: What is asked for, with nothing beside.
        table: For a scope by token, which tokens are steered.
    """
    _, vectors, relative = stacked_places([steering])
    return FlatSteering(
        operator=steering.operator,
        layers=tuple(place.layer for place in steering.places),
        vectors=vectors[0],
        axes=stacked_axes([steering], vectors)[0],
        strengths=torch.tensor(steering.alpha) * relative[0],
        steps=steering.steered_steps,
        spared=steering.spared_steps,
        prompt=steering.steers_prompt,
        table=table,
    )


@dataclass(frozen=True, eq=False)
class LayerSteering:
    """How one operator steers one layer in a batch.

    Attributes:
        operator: What the vectors do.
        vectors: ``[vectors, hidden]`` float32, each once however many requests have it.
        axes: Likewise.
        which: ``[requests]``, the request's vector; 0 where it has none.
        strengths: ``[requests]`` float32.
        members: ``[requests]`` bool on the host: which are steered here.
    """

    operator: Operator
    vectors: Tensor
    axes: Tensor
    which: Tensor
    strengths: Tensor
    members: NDArray[np.bool_]


class FlatBatch:
    """The requests of a step, in the order of their tokens.

    It lasts as long as the same requests stand in the same order.

    Args:
        steerings: One per request; None leaves it alone.
        prompts: Tokens of each request's prompt.
        device: Where the activations are.
    """

    def __init__(
        self,
        steerings: Sequence[FlatSteering | None],
        prompts: Sequence[int],
        device: torch.device,
    ) -> None:
        self.steerings = tuple(steerings)
        self.device = device
        self._prompts = np.array(prompts, dtype=np.int64)
        found = [None if one is None else (*one.steps, *one.spared) for one in steerings]
        self._bounds: Wholes = np.array(
            [(0, 0, 0, 0) if one is None else one for one in found], dtype=np.int64
        ).reshape(-1, 4)
        self._whole = np.array([one is not None and one.prompt for one in steerings], dtype=bool)

    def places(self, starts: Sequence[int], counts: Sequence[int]) -> tuple[Wholes, Wholes]:
        """Request and position of every token.

        Args:
            starts: Position of the first token that each request reads.
            counts: How many it reads.
        """
        per_request = np.array(counts, dtype=np.int64)
        request = np.repeat(np.arange(len(per_request)), per_request)
        first = np.cumsum(per_request) - per_request
        within = np.arange(len(request)) - first[request]
        return request, within + np.array(starts, dtype=np.int64)[request]

    def steered(
        self,
        starts: Sequence[int],
        counts: Sequence[int],
        read: Callable[[], NDArray[np.integer]],
    ) -> tuple[Wholes, Wholes]:
        """Tokens in the scope of their request's steering, and their requests.

        Args:
            starts: Position of the first token that each request reads.
            counts: How many it reads.
            read: Gives the ids of all tokens; called where a scope is by token.
        """
        request, position = self.places(starts, counts)
        step = position - (self._prompts[request] - 1)
        begin, end, spared, again = self._bounds[request].T
        wanted = (begin <= step) & (step < end) & ~((spared <= step) & (step < again))
        wanted |= self._whole[request] & (step < 0)
        for index, one in enumerate(self.steerings):
            if one is not None and one.table is not None:
                own = np.flatnonzero(wanted & (request == index))
                wanted[own] = one.table.numpy()[read()[own]] if len(own) else False
        tokens = np.flatnonzero(wanted)
        return tokens, request[tokens]

    @cached_property
    def layers(self) -> dict[int, list[LayerSteering]]:
        """What happens at each layer that is steered."""
        found: dict[int, list[LayerSteering]] = {}
        all_layers = {layer for one in self.steerings if one is not None for layer in one.layers}
        for layer in sorted(all_layers):
            found[layer] = [
                self._layer(layer, operator)
                for operator in OPERATORS
                if any(_steers(one, layer, operator) for one in self.steerings)
            ]
        return found

    def _layer(self, layer: int, operator: Operator) -> LayerSteering:
        rows: dict[int, int] = {}  # steering → its row of the vectors
        vectors: list[Tensor] = []
        axes: list[Tensor] = []
        which, strengths, members = [], [], []
        for one in self.steerings:
            here = _steers(one, layer, operator)
            members.append(here)
            if one is None or not here:
                which.append(0)
                strengths.append(0.0)
                continue
            if id(one) not in rows:
                rows[id(one)] = len(vectors)
                vectors.append(one.vectors[one.layers.index(layer)])
                axes.append(one.axes[one.layers.index(layer)])
            which.append(rows[id(one)])
            strengths.append(_strength(one, layer))
        return LayerSteering(
            operator,
            torch.stack(vectors).to(self.device),
            torch.stack(axes).to(self.device),
            torch.tensor(which, device=self.device),
            torch.tensor(strengths, device=self.device),
            np.array(members),
        )


def _strength(one: FlatSteering, layer: int) -> float:
    return float(one.strengths[one.layers.index(layer)]) if layer in one.layers else 0.0


def _steers(one: FlatSteering | None, layer: int, operator: Operator) -> bool:
    # At strength 0 there is nothing to do, not even a sum that is rounded.
    return one is not None and one.operator == operator and _strength(one, layer) != 0.0


class FlatStep:
    """One step of a batch: what its blocks' outputs become.

    Args:
        batch: The requests.
        tokens: Those in the scope of their request's steering.
        requests: Of these tokens.
    """

    def __init__(self, batch: FlatBatch, tokens: Wholes, requests: Wholes) -> None:
        self.batch = batch
        self._tokens, self._requests = tokens, requests
        # Most layers steer the same requests: their tokens go to the device once.
        self._on_device: dict[bytes, tuple[Tensor, Tensor]] = {}

    def steers(self, layer: int) -> bool:
        """Whether any token is steered at a layer."""
        return bool(len(self._tokens)) and layer in self.batch.layers

    def change(
        self, layer: int, hidden: Tensor, residual: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Steer a block's output.

        The residual stream is `hidden`, or its sum with `residual`, which the next block's norm
        would take. A steered token's stream is put into the first, and zeros into the second: its
        sum is then rounded as everywhere else, and steered once.

        Args:
            layer: The block.
            hidden: ``[tokens, width]``.
            residual: Likewise, or None.

        Returns:
            Both, anew where there was something to do.
        """
        for part in self.batch.layers.get(layer, ()):
            tokens, requests = self._of(part.members)
            if not len(tokens):
                continue
            stream = hidden[tokens]
            if residual is not None:
                stream = stream + residual[tokens]
            which = part.which[requests]
            stream = apply_operator(
                part.operator,
                stream,
                part.vectors[which],
                part.strengths[requests],
                part.axes[which],
            )
            hidden = hidden.index_copy(0, tokens, stream)
            if residual is not None:
                residual = residual.index_fill(0, tokens, 0.0)
        return hidden, residual

    def _of(self, members: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        key = members.tobytes()
        if key not in self._on_device:
            here = members[self._requests]
            self._on_device[key] = (
                torch.from_numpy(self._tokens[here]).to(self.batch.device),
                torch.from_numpy(self._requests[here]).to(self.batch.device),
            )
        return self._on_device[key]
