"""What steering is: a vector that changes a block's output at some positions of one row.

The change is an addition, or another one of `snakesteer.operators`; a band of layers is steered by
one vector each.

Positions are named by what they predict. With a prompt of P tokens, position P−1 (the last prompt
token) yields the first generated token; position P−1+i, which holds generated token i−1, yields
generated token i. ``i`` is called the step: step 0 is the last prompt token, in the prefill; every
decode pass is one further step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snakesteer.config import Kl, Operator, Scope

FOREVER = 2**62  # a step that no text reaches


@dataclass(frozen=True)
class Dac:
    """Dynamic strength in the residual form of DAC.

    After Scalena, Sarti and Nissim 2024, "Multi-property Steering of Large Language Models with
    Dynamic Activation Composition" (arXiv 2406.17563). The paper steers attention heads with
    time-indexed vectors; this form keeps its dynamic strength and applies it to one constant vector
    in the residual stream.

    Attributes:
        entropy_threshold: Steer only where the unsteered next-token entropy (nats) exceeds this.
        ptop: Top-p mass that chooses the tokens on which the KL is computed.
        max_alpha: Cap on the KL.
        probe_alpha: α₀, the factor on the vector in the probe stream.
        kl: ``true_kl``, or ``per_token``: the KL divided by the number of tokens that it is taken
            over, which is what the authors' repository computes.
    """

    entropy_threshold: float
    ptop: float
    max_alpha: float
    probe_alpha: float
    kl: Kl = "true_kl"


@dataclass(frozen=True, eq=False)
class Place:
    """A layer that is steered, with its vector.

    Attributes:
        layer: 0-based block whose output is changed.
        vector: ``[hidden]`` float32, the raw direction.
        alpha: Strength α, the factor on `vector`; an angle in radians for operator ``angular``.
    """

    layer: int
    vector: Tensor
    alpha: float


@dataclass(frozen=True, eq=False)
class Steering:
    """How one row is steered.

    Attributes:
        layer: 0-based block whose output is changed.
        vector: ``[hidden]`` float32, the raw direction; or ``[positions, hidden]`` (ActAdd), added
            to the first positions of the prompt, one to one, and nowhere else.
        alpha: Strength α, the factor on `vector`; an angle in radians for operator ``angular``.
        scope: Which positions are steered (ignored with `dac` and by ActAdd, whose scope is their
            own).
        first_k: Number of steered positions for scope ``first_k``.
        dac: Dynamic strength; the added vector is then ``alpha · α_t · vector`` at every step t. In
            the probe stream, further layers keep their proportion to the first.
        operator: What the vector does, see `snakesteer.operators`; DAC adds.
        more: Further layers, steered at the same positions.
    """

    layer: int
    vector: Tensor
    alpha: float
    scope: Scope = "from_last_prompt_token"
    first_k: int | None = None
    dac: Dac | None = None
    operator: Operator = "add"
    more: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        if self.dac is not None and self.operator != "add":
            raise ValueError(f"DAC sets the strength of an addition, not of {self.operator!r}")
        if self.is_actadd and not (self.is_plain and self.dac is None):
            raise ValueError("ActAdd adds at one layer, with one strength")
        layers = [place.layer for place in self.places]
        if len(set(layers)) != len(layers):
            raise ValueError(f"a layer is steered twice: {layers}")
        if len({place.alpha == 0.0 for place in self.places}) > 1:
            raise ValueError("of the strengths of a band, all or none are 0")

    @property
    def places(self) -> tuple[Place, ...]:
        """All layers that are steered."""
        return (Place(self.layer, self.vector, self.alpha), *self.more)

    @property
    def is_plain(self) -> bool:
        """Whether it is one addition at one layer."""
        return self.operator == "add" and not self.more

    @property
    def is_actadd(self) -> bool:
        """Whether the prompt's first positions have vectors of their own."""
        return self.vector.dim() == 2

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for rows that are steered alike."""
        places = tuple((place.layer, place.alpha, id(place.vector)) for place in self.places)
        return places, self.operator, self.scope, self.first_k, self.dac

    def delta(self) -> Tensor:
        """``alpha · vector``, ``[hidden]`` float32."""
        return self.alpha * self.vector.float()

    @property
    def steered_steps(self) -> tuple[int, int]:
        """First steered step (0 is the last prompt token), and the first behind the last one."""
        if self.dac is not None:
            return 0, FOREVER
        match self.scope:
            case "all" | "from_last_prompt_token":
                return 0, FOREVER
            case "generated_only":
                return 1, FOREVER
            case "last_prompt_token":
                return 0, 1
            case "first_k":
                assert self.first_k is not None
                return 0, self.first_k

    def steers_step(self, step: int) -> bool:
        """Whether the position of this step is steered."""
        first, end = self.steered_steps
        return first <= step < end

    @property
    def steers_prompt(self) -> bool:
        """Whether prompt positions before the last one are steered."""
        return self.scope == "all"


def stacked_places(
    steerings: Sequence[Steering | None], count: int = 1
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


def top_p_set(logits: Tensor, mass: Tensor) -> Tensor:
    """The smallest set of likeliest tokens whose probability reaches a mass.

    The token that crosses the mass is kept, so that the set is never empty (as in the DAC authors'
    repository, DanielSc4/Dynamic-Activation-Composition).

    Args:
        logits: ``[batch, vocab]``.
        mass: ``[batch]`` in (0, 1].

    Returns:
        ``[batch, vocab]`` bool.
    """
    probability = logits.float().softmax(dim=-1)
    ids = _top_p_candidates(probability, mass)
    ordered, order = probability.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = before < mass[:, None]
    empty = torch.zeros_like(probability, dtype=torch.bool)
    return empty.scatter(-1, ids.gather(-1, order), kept)


def _top_p_candidates(probability: Tensor, mass: Tensor) -> Tensor:
    """Ascending ids ``[batch, k]`` of tokens that `top_p_set` may keep.

    Tokens below (1 − mass) / vocab have less than 1 − mass together, so that the others reach the
    mass (half of that bound leaves room for rounding). Sorting them alone saves most of the time of
    DAC on a CPU. On CUDA the number of tokens must not depend on data, for the step is captured.
    """
    batch, vocab = probability.shape
    if probability.is_cuda:
        return torch.arange(vocab, device=probability.device).expand(batch, -1)
    bound = (1.0 - mass[:, None]) / (2 * vocab)
    k = int((probability >= bound).sum(dim=-1).max())
    return probability.topk(k, dim=-1).indices.sort(dim=-1).values


def dynamic_alpha(
    unsteered: Tensor,
    probe: Tensor,
    ptop: Tensor,
    max_alpha: Tensor,
    entropy_threshold: Tensor,
    per_token: Tensor,
) -> Tensor:
    """DAC's strength α_t for one step.

    α_t = min(KL(unsteered ‖ probe), max_alpha) with both distributions renormalised on the union of
    their top-p sets, and 0 where the entropy of the whole unsteered distribution does not exceed
    the threshold. The KL is the true one (nats) or, where `per_token`, divided by the size of the
    union: the authors' repository computes that (``batchmean`` of one-dimensional tensors).

    Args:
        unsteered: ``[batch, vocab]`` next-token logits without steering.
        probe: ``[batch, vocab]`` logits of the stream steered at α₀.
        ptop: ``[batch]`` top-p mass.
        max_alpha: ``[batch]`` cap.
        entropy_threshold: ``[batch]`` nats.
        per_token: ``[batch]`` bool.

    Returns:
        ``[batch]`` float32, at least 0.
    """
    unsteered, probe = unsteered.float(), probe.float()
    union = top_p_set(unsteered, ptop) | top_p_set(probe, ptop)
    log_p = unsteered.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    log_q = probe.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    # 0·log 0 is 0: outside the union, and where the model rules a token out (logit −∞).
    terms = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0)
    divergence = terms.sum(dim=-1).clamp(min=0.0)
    divergence = torch.where(per_token, divergence / union.sum(dim=-1), divergence)
    entropy = torch.special.entr(unsteered.softmax(dim=-1)).sum(dim=-1)
    alpha = torch.minimum(divergence, max_alpha.float())
    return torch.where(entropy > entropy_threshold, alpha, 0.0)
