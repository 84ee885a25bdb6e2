"""Steering of the residual stream: a vector changes a block's output at some positions of one row.

The change is an addition, or another one of `snakesteer.steering.operators`; a band of layers is
steered by one vector each. What a step is, says `snakesteer.steering.positions`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from snakesteer.config import Operator, Scope, TokenRule
from snakesteer.config.catalogue import Kind
from snakesteer.steering.dac import Dac
from snakesteer.steering.gates import Gate
from snakesteer.steering.positions import Positions, Steps
from snakesteer.steering.tokens import TokenSet

# Whose output is changed: the blocks', or the attention heads' before their projection.
Sites = Literal["blocks", "heads"]
# Vectors ``[..., width]`` of a layer, and the layer, in; other vectors of this shape out.
VectorChange = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Place:
    """A layer that is steered, with its vector.

    Attributes:
        layer: 0-based block whose output is changed.
        vector: ``[hidden]`` float32, the raw direction.
        alpha: Strength α, the factor on `vector`; an angle in radians for the operators ``angular``
            and ``rotate``, the share of the component that is removed for ``ablate``.
        axis: For ``rotate``: ``[hidden]`` float32, spans the plane together with `vector`.
    """

    layer: int
    vector: Tensor
    alpha: float
    axis: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ResidualSteering:
    """How one row is steered.

    Attributes:
        layer: 0-based block whose output is changed.
        vector: ``[hidden]`` float32, the raw direction.
        alpha: Strength α, the factor on `vector`; an angle in radians for the operators ``angular``
            and ``rotate``, the share of the component that is removed for ``ablate``.
        scope: Which positions are steered (ignored with `dac`, whose scope is its own).
        first_k: Number of steered positions for scope ``first_k``.
        dac: Dynamic strength; the added vector is then ``alpha · α_t · vector`` at every step t. In
            the probe stream, further layers keep their proportion to the first.
        operator: What the vector does, see `snakesteer.steering.operators`; DAC adds.
        more: Further layers, steered at the same positions.
        window: Of generated tokens, for the scopes that have one; see `Positions`.
        tokens: For the scopes by token; see `Positions`.
        axis: For ``rotate``, see `Place`.
        beside: What else is done to the row, in this order behind all that is said here, each at
            layers and positions of its own.
        gate: On which condition a position of the scope is steered; None for none.
    """

    layer: int
    vector: Tensor
    alpha: float
    scope: Scope = "from_last_prompt_token"
    first_k: int | None = None
    dac: Dac | None = None
    operator: Operator = "add"
    more: tuple[Place, ...] = ()
    window: tuple[int, int] | None = None
    tokens: TokenRule | None = None
    axis: Tensor | None = None
    beside: tuple["ResidualSteering", ...] = ()
    gate: Gate | None = None

    kind: ClassVar[Kind] = "residual"
    sites: ClassVar[Sites] = "blocks"
    fades: ClassVar[bool] = False  # its strength is the same at all steered steps

    def __post_init__(self) -> None:
        if self.dac is not None and self.operator != "add":
            raise ValueError(f"DAC sets the strength of an addition, not of {self.operator!r}")
        if (self.operator == "rotate") != all(place.axis is not None for place in self.places):
            raise ValueError(f"a plane belongs to rotate, and to no other: {self.operator!r}")
        layers = [place.layer for place in self.places]
        if len(set(layers)) != len(layers):
            raise ValueError(f"a layer is steered twice: {layers}")
        if self.gate is not None and (self.dac is not None or self.beside):
            raise ValueError("a gate goes with one vector whose strength is constant")
        if self.gate is not None and self.gate.layer > min(layers):
            raise ValueError(f"a gate at layer {self.gate.layer} is behind a steered one: {layers}")
        alphas = [place.alpha for part in self.parts for place in part.places]
        if len({alpha == 0.0 for alpha in alphas}) > 1:
            raise ValueError("of the strengths of a band or of several vectors, all or none are 0")
        if self.beside and any(part.dac is not None for part in self.parts):
            raise ValueError("DAC sets the strength of one vector, not of several at once")
        if any(part.beside or part.gate is not None for part in self.beside):
            raise ValueError("what is done beside something has nothing beside itself, and no gate")

    @property
    def places(self) -> tuple[Place, ...]:
        """All layers that are steered."""
        return (Place(self.layer, self.vector, self.alpha, self.axis), *self.more)

    @property
    def parts(self) -> tuple["ResidualSteering", ...]:
        """What is done one after the other, with nothing beside."""
        return (replace(self, beside=()), *self.beside) if self.beside else (self,)

    @property
    def is_plain(self) -> bool:
        """Whether it is one addition at one layer."""
        return self.operator == "add" and not self.more and not self.beside

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for rows that are steered alike."""
        places = tuple((p.layer, p.alpha, id(p.vector), id(p.axis)) for p in self.places)
        gate = None if self.gate is None else self.gate.key
        beside = tuple(part.key for part in self.beside)
        return places, self.operator, self.positions, self.dac, gate, beside

    @property
    def off(self) -> "ResidualSteering":
        """The same at strength 0."""
        more = tuple(replace(place, alpha=0.0) for place in self.more)
        return replace(self, alpha=0.0, more=more, beside=tuple(part.off for part in self.beside))

    def at_constant(self, factor: float) -> "ResidualSteering":
        """The same at the constant strength alpha · factor, where DAC steers: without `dac`."""
        more = tuple(replace(p, alpha=factor * p.alpha) for p in self.more)
        return replace(
            self,
            alpha=factor * self.alpha,
            scope="from_last_prompt_token",
            first_k=None,
            dac=None,
            more=more,
            window=None,
            tokens=None,
        )

    def with_vectors(self, change: VectorChange) -> "ResidualSteering":
        """The same with other vectors, at all of its layers and beside it."""
        vector = change(self.vector, self.layer)
        more = tuple(replace(p, vector=change(p.vector, p.layer)) for p in self.more)
        beside = tuple(part.with_vectors(change) for part in self.beside)
        return replace(self, vector=vector, more=more, beside=beside)

    def with_parts(
        self, change: Callable[["ResidualSteering"], "ResidualSteering"]
    ) -> "ResidualSteering":
        """The same with each of its parts changed by itself."""
        first, *others = map(change, self.parts)
        return replace(first, beside=tuple(others))

    def delta(self) -> Tensor:
        """``alpha · vector``, ``[hidden]`` float32."""
        return self.alpha * self.vector.float()

    @property
    def positions(self) -> Positions:
        """Those that are steered; with `dac`, all from the last prompt token on."""
        if self.dac is not None:
            return Positions()
        return Positions(self.scope, self.first_k, self.window, self.tokens)

    @property
    def steered_steps(self) -> Steps:
        """See `Positions.steered_steps`."""
        return self.positions.steered_steps

    @property
    def spared_steps(self) -> Steps:
        """See `Positions.spared_steps`."""
        return self.positions.spared_steps

    @property
    def token_set(self) -> TokenSet | None:
        """See `Positions.token_set`."""
        return self.positions.token_set

    def steers_step(self, step: int) -> bool:
        """See `Positions.steers_step`."""
        return self.positions.steers_step(step)

    @property
    def steers_prompt(self) -> bool:
        """Whether prompt positions before the last one are steered."""
        return self.positions.steers_prompt


def stacked_places(
    steerings: Sequence[ResidualSteering | None], count: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """The places of several rows, on the CPU. Rows with fewer places than others are filled up.

    Args:
        steerings: One per row; at least one is not None.
        count: Smallest number of places.

    Returns:
        Layers ``[rows, places]`` int64 (−1 where there is none), vectors ``[rows, places, hidden]``
        float32, and strengths ``[rows, places]`` float32 in units of the row's first strength.
    """
    rows = [() if steering is None else steering.places for steering in steerings]
    count = max(count, *map(len, rows))
    hidden = next(places[0].vector.shape[0] for places in rows if places)
    layers = torch.full((len(rows), count), -1)
    vectors = torch.zeros(len(rows), count, hidden)
    relative = torch.ones(len(rows), count)
    for row, places in enumerate(rows):
        for number, place in enumerate(places):
            layers[row, number] = place.layer
            vectors[row, number] = place.vector
            if place.alpha != places[0].alpha:
                relative[row, number] = place.alpha / places[0].alpha
    return layers, vectors, relative


def stacked_axes(steerings: Sequence[ResidualSteering | None], like: Tensor) -> Tensor:
    """The second axes of several rows' places, in the shape of their vectors, on the CPU.

    Args:
        steerings: One per row; places without an axis have 0.
        like: ``[rows, places, hidden]`` float32, the vectors that `stacked_places` gave for them.
    """
    axes = torch.zeros_like(like)
    for row, steering in enumerate(steerings):
        for number, place in enumerate(() if steering is None else steering.places):
            if place.axis is not None:
                axes[row, number] = place.axis
    return axes
