"""A steering configuration: everything but the vector's numbers. Imported with the Snakefile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from snakesteer.config import After, Direction, Kl, Method, Operator, Schedule, Scope, TokenRule
from snakesteer.config.catalogue import METHODS, Kind

# A direction and a layer; a method and `ALL_LAYERS` for vectors of attention heads.
VectorKey = tuple[str, int]
ALL_LAYERS = -1

# Names that results use for a configuration; those of a dynamic strength exist for it alone, the
# operator where it is not ``add``, and those of a band where it has several layers. Where the start
# of the prompt is steered, or attention heads of all layers are, the direction is the method
# itself. The scope is the schedule where there is one, and ``prompt_start`` there. Where heads are
# steered, the layer is the one whose probe results report. Of several vectors at once, all names
# but ``further`` are those of the first one.
PARAM_NAMES = (
    "steering_method",
    "steering_direction",
    "layer_id",
    "steering_alpha",
    "steering_dose",
    "scope",
    "first_k",
    "entropy_threshold",
    "ptop",
    "max_alpha",
    "probe_alpha",
    "operator",
    "band_layers",
    "band_alphas",
    "dac_kl",
    "heads_after",
    "generated_window",
    "at_tokens",
    "further",
    "steering_kl",
)

# What a trial keeps beside these: the number of layers that have its dose.
STEERED_LAYERS = "steered_layers"


@dataclass(frozen=True)
class Candidate:
    """One steering configuration: everything but the vector's numbers.

    Attributes:
        method: How it steers.
        direction: Which vector; the method itself where it has vectors of its own.
        layer: 0-based block; where attention heads are steered, that of the probe.
        alpha: Strength as a factor on the raw vector.
        dose: The same strength in mean residual norms. For operator ``ablate``, both are the share
            of the component that is removed.
        scope: Positions that are steered, where the strength is constant in the residual stream.
        first_k: For scope ``first_k``.
        entropy_threshold: Dynamic strength in the residual stream.
        ptop: Dynamic strength.
        max_alpha: Dynamic strength.
        probe_alpha: Dynamic strength: the α of the probe stream.
        operator: What the vector does.
        band_layers: All layers that are steered, where they are several.
        band_alphas: Their strengths.
        kl: Dynamic strength.
        schedule: How the strength goes on from token to token, for attention heads; ``dynamic`` in
            the residual stream, too.
        after: Attention heads only.
        generated_window: For the scopes that have one: the first generated token, and the first one
            behind the last.
        at_tokens: For the scopes by token: token ids and tokens, or a regular expression.
        beside: What else is done to the residual stream of a text, in this order.
        nats: The strength in nats, where that is its unit; see `snakesteer.steering.kl_unit`.
    """

    method: Method
    direction: Direction
    layer: int
    alpha: float
    dose: float
    scope: Scope
    first_k: int | None = None
    entropy_threshold: float | None = None
    ptop: float | None = None
    max_alpha: float | None = None
    probe_alpha: float | None = None
    operator: Operator = "add"
    band_layers: tuple[int, ...] = ()
    band_alphas: tuple[float, ...] = ()
    kl: Kl = "true_kl"
    schedule: Schedule | None = None
    after: After | None = None
    generated_window: tuple[int, int] | None = None
    at_tokens: TokenRule | None = None
    beside: tuple["Candidate", ...] = ()
    nats: float | None = None

    @property
    def kind(self) -> Kind:
        """What its method steers."""
        return METHODS[self.method].kind

    @property
    def dynamic(self) -> bool:
        """Whether the strength is set anew at every token."""
        return self.schedule == "dynamic"

    def params(self) -> dict[str, Any]:
        """The configuration under the names that results use."""
        own_scope = "prompt_start" if self.kind == "prompt_start" else self.scope
        values = (
            self.method,
            self.direction,
            self.layer,
            self.alpha,
            self.dose,
            self.schedule or own_scope,
            self.first_k,
            self.entropy_threshold,
            self.ptop,
            self.max_alpha,
            self.probe_alpha,
            None if self.operator == "add" else self.operator,
            list(self.band_layers) or None,
            list(self.band_alphas) or None,
            None if self.kl == "true_kl" else self.kl,
            self.after,
            None if self.generated_window is None else list(self.generated_window),
            list(self.at_tokens) if isinstance(self.at_tokens, tuple) else self.at_tokens,
            [other.params() for other in self.beside] or None,
            self.nats,
        )
        named = zip(PARAM_NAMES, values, strict=True)
        return {name: value for name, value in named if value is not None}

    @property
    def vector_keys(self) -> list[VectorKey]:
        """The vectors that it needs."""
        if self.kind == "heads":
            return [(self.method, ALL_LAYERS)]
        own = [(self.direction, layer) for layer in self.band_layers or (self.layer,)]
        return [*own, *(key for other in self.beside for key in other.vector_keys)]

    @property
    def alphas(self) -> tuple[float, ...]:
        """The strengths of `vector_keys`."""
        own = self.band_alphas or (self.alpha,)
        return (*own, *(alpha for other in self.beside for alpha in other.alphas))

    @property
    def steered(self) -> tuple[int, ...]:
        """The layers of `vector_keys`, where they are of the residual stream."""
        own = self.band_layers or (self.layer,)
        return (*own, *(layer for other in self.beside for layer in other.steered))


def candidate_from_params(params: Mapping[str, Any]) -> Candidate:
    """The inverse of `Candidate.params`."""
    scope, window = params["scope"], params.get("generated_window")
    tokens = params.get("at_tokens")
    return Candidate(
        method=params["steering_method"],
        direction=params["steering_direction"],
        layer=params["layer_id"],
        alpha=params["steering_alpha"],
        dose=params["steering_dose"],
        scope=scope if scope in get_args(Scope) else "from_last_prompt_token",
        first_k=params.get("first_k"),
        entropy_threshold=params.get("entropy_threshold"),
        ptop=params.get("ptop"),
        max_alpha=params.get("max_alpha"),
        probe_alpha=params.get("probe_alpha"),
        operator=params.get("operator", "add"),
        band_layers=tuple(params.get("band_layers", ())),
        band_alphas=tuple(params.get("band_alphas", ())),
        kl=params.get("dac_kl", "true_kl"),
        schedule=scope if scope in get_args(Schedule) else None,
        after=params.get("heads_after"),
        generated_window=None if window is None else tuple(window),
        at_tokens=tuple(tokens) if isinstance(tokens, list) else tokens,
        beside=tuple(map(candidate_from_params, params.get("further", ()))),
        nats=params.get("steering_kl"),
    )
