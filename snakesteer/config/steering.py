"""Probes, and what the search may steer with."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from snakesteer.config import catalogue
from snakesteer.config.catalogue import IMPORTED, TRAINED
from snakesteer.config.gates import NO_GATE, GateChoice
from snakesteer.config.layers import parse_layers
from snakesteer.config.scopes import Operator, Scope, TokenRule, check_scope
from snakesteer.config.section import Section, check_once, written_out
from snakesteer.config.together import TogetherPart

Range = tuple[float, float]
DIRECTION_NAMES = (*catalogue.DIRECTIONS, TRAINED, IMPORTED)


def _known_direction(direction: str) -> str:
    if direction not in DIRECTION_NAMES:
        raise ValueError(
            f"steering.directions names {direction!r}, which is none of "
            f"{', '.join(DIRECTION_NAMES)}. Name one of these, or add "
            f"snakesteer/vectors/directions/{direction}.py (docs/new_method.md)"
        )
    return direction


def _known_method(method: str) -> str:
    if method not in catalogue.METHODS:
        raise ValueError(
            f"steering.methods names {method!r}, which is none of {', '.join(catalogue.METHODS)}. "
            f"Name one of these, or add snakesteer/steering/methods/{method}.py "
            "(docs/new_method.md)"
        )
    return method


def _one_of(names: Iterable[str]) -> Any:
    return Field(json_schema_extra={"enum": [*names]})


Direction = Annotated[str, AfterValidator(_known_direction), _one_of(DIRECTION_NAMES)]
Method = Annotated[str, AfterValidator(_known_method), _one_of(catalogue.METHODS)]
Schedule = Literal["dynamic", "fixed", "start", "diminishing"]
After = Literal["zero", "hold", "mean"]
Kl = Literal["true_kl", "per_token"]


class ProbeConfig(Section):
    """Logistic-regression probe on the pairs' activations, one per layer."""

    c: float = Field(1.0, gt=0.0, description="Inverse regularisation strength.")


class SteeringConfig(Section):
    """What the search may steer with."""

    methods: list[Method] = Field(
        ["caa", "dac"],
        min_length=1,
        description=" ".join(
            f"`{name}`: {method.summary}." for name, method in catalogue.METHODS.items()
        ),
    )
    directions: list[Direction] = Field(
        ["caa", TRAINED],
        min_length=1,
        description="What the vectors are. "
        + "".join(f"`{name}`: {summary}. " for name, summary in catalogue.DIRECTIONS.items())
        + f"`{TRAINED}`: Learned by gradient descent, see `training`. "
        + f"`{IMPORTED}`: Read from `vector_file`.",
    )
    vector_file: str | None = Field(
        None,
        min_length=1,
        description=f"File of the direction `{IMPORTED}`, for it only: safetensors (a vector file "
        "of another run, or tensors `layer_8` or `direction.8`) or a GGUF control vector. "
        "`{layer}` in the path stands for the layer, where each has a file of its own.",
    )
    layers: list[int | float] | str = Field(
        [0.4, 0.6],
        description="Blocks whose output is steered, counted from 0: a list [8, 10], a range "
        "'8-12' (both ends included) or '8-20:4', fractions of the depth [0.3, 0.5], or `all`: "
        "every block at once, as one band.",
    )
    band: int = Field(
        1,
        ge=1,
        description="Number of consecutive entries of `layers` that are steered together, each "
        "with its own vector at the same strength; the searched layer is the first. For methods of "
        "the residual stream, and not beside those of the prompt's start.",
    )
    operators: list[Operator] = Field(
        ["add"],
        min_length=1,
        description="What CAA does with α·v: `add` it, `clamp` the component along v to it, "
        "`norm_preserving`: add it and keep the length, `angular`: turn towards v by the dose in "
        "radians, `ablate`: remove the component along v, of which `strength` is then the share in "
        "either unit (all of it at 1), `rotate`: turn by the dose in radians in the plane of v and "
        "the mean of the residual stream, towards v. DAC always adds.",
    )
    actadd_prompts: tuple[str, str] | None = Field(
        None,
        description="For the method `actadd`, and only for it: a prompt that has what is wanted, "
        "and one that lacks it.",
    )
    together: list[TogetherPart] | None = Field(
        None,
        description="For the method `together`, and only for it: what is changed at once in every "
        "text, a list of `{direction, layer}` with a `weight` (1), an `operator` (`add`) and a "
        "scope with its keys where they are others than these. At one layer, the earlier entry is "
        "done first. Directions and layers are those of `directions` and `layers`.",
    )
    scope: Scope = Field(
        "from_last_prompt_token", description="Which positions `caa` steers; for it only."
    )
    first_k: int | None = Field(
        None, ge=1, description="Number of steered positions, for scope `first_k` only."
    )
    generated_window: tuple[int, int] | None = Field(
        None,
        description="Generated tokens [a, b], for two scopes: `generated_window` steers those from "
        "a to b − 1, counted from 0, where they are read back, and `outside_generated_window` all "
        "others. For these only.",
    )
    at_tokens: TokenRule | None = Field(
        None,
        description="Generated tokens, for two scopes: `at_tokens` steers these where they are "
        "read back, and `not_at_tokens` all other generated ones. A list of token ids and of "
        "tokens as they stand in a text (with the space before a word), or a regular expression "
        r"that is searched for in every token: '\n\n$' are those that end in a blank line. For "
        "these scopes only.",
    )
    gates: list[GateChoice] = Field(
        [NO_GATE],
        min_length=1,
        description="Conditions on what the model holds, of which a trial of `caa` takes one: "
        "`none`, or a gate. It steers a position of `scope` only where a block's output "
        "is beyond a threshold: `{layer: 0.4, direction: caa, score: cosine, side: above, "
        "quantile: 0.5, when: token}`. `layer`: the block, a number or a fraction of the depth, "
        "none behind a layer of `layers`. `direction`: a vector from pairs. `score`: its `cosine` "
        "with the output, or the output's `projection` on it (of direction `probe`, the probe's "
        "score). `quantile`: of such scores on train, at which the threshold lies. `when`: "
        "`token` scores every position, `prompt` the last prompt token for the whole answer.",
    )
    unit: Literal["alpha", "dose", "kl"] = Field(
        "dose",
        description="Unit of `strength`: `alpha` multiplies the raw vector; `dose` is the length "
        "of the added vector in units of the mean residual norm at that layer; `kl` is how far it "
        "moves the next token: the 95th percentile of KL(unsteered ‖ steered) over tokens of train "
        "texts, in nats.",
    )
    strength: Range = Field(
        (-0.3, 0.3), description="Lowest and highest strength; must include 0 (no steering)."
    )
    dac_probe: float = Field(
        2.0,
        gt=0.0,
        description="Strength of DAC's probe stream, a factor on the trial's own strength α.",
    )
    dac_entropy_threshold: Range = Field(
        (0.0, 2.0), description="DAC steers only where the entropy (nats) is above this."
    )
    dac_ptop: Range = Field((0.2, 0.8), description="DAC's top-p mass for the KL.")
    dac_max_alpha: Range = Field((1.0, 5.0), description="DAC's cap on the KL.")
    dac_kl: Kl = Field(
        "true_kl",
        description="`per_token` divides DAC's KL by the number of tokens that it is taken over, "
        "as the authors' code does. For `dac` and `dac_heads` only.",
    )
    heads_schedule: Schedule = Field(
        "dynamic",
        description="Strength of `dac_heads` from token to token: set by the KL (`dynamic`), "
        "`fixed`, `start` (the last prompt token alone), or `diminishing` (0 after `heads.steps`). "
        "For that method only.",
    )
    heads_after: After = Field(
        "mean",
        description="What `dac_heads` adds past `heads.steps`: nothing (`zero`), the last step's "
        "vectors (`hold`), or the mean over all steps. For that method only.",
    )

    @field_validator("vector_file")
    @classmethod
    def _written_out(cls, value: str | None) -> str | None:
        return None if value is None else written_out("steering.vector_file", value)

    @model_validator(mode="after")
    def _consistent(self) -> "SteeringConfig":
        for key in ("methods", "directions", "operators", "gates"):
            # Gates go by their names.
            named = [getattr(value, "name", value) for value in getattr(self, key)]
            check_once(f"steering.{key}", named)
        for key in ("strength", "dac_entropy_threshold", "dac_ptop", "dac_max_alpha"):
            low, high = getattr(self, key)
            if low > high or (key == "strength" and low == high):
                raise ValueError(
                    f"steering.{key} is [{low}, {high}]: the first number must be the lower one. "
                    "Write it as [low, high]"
                )
        if not self.strength[0] <= 0.0 <= self.strength[1]:
            raise ValueError(
                f"steering.strength is {list(self.strength)} and leaves out 0, so 'no steering' "
                "could not win. Let the range include 0"
            )
        if not (self.dac_ptop[0] > 0.0 and self.dac_ptop[1] <= 1.0):
            raise ValueError(
                f"steering.dac_ptop is {list(self.dac_ptop)}; a top-p mass lies in (0, 1]. "
                "The usual range is [0.2, 0.8]"
            )
        if self.dac_entropy_threshold[0] < 0.0 or self.dac_max_alpha[0] < 0.0:
            raise ValueError(
                "steering.dac_entropy_threshold and steering.dac_max_alpha cannot be negative. "
                "The usual ranges are [0.0, 2.0] and [1.0, 5.0]"
            )
        self._every_key_does_something()
        several = [part.operator for part in self.together or ()]
        if self.unit == "kl" and "clamp" in (*self.operators, *several):
            where = f"steering.operators is {self.operators}"
            if "clamp" in several:
                where = f"steering.together has the operators {several}"
            raise ValueError(
                f"steering.unit is 'kl' and {where}: clamp takes a "
                "component off at the smallest strength already, so that it has no strength of few "
                "nats. Leave clamp out, or use steering.unit: dose"
            )
        if self.unit == "kl" and self.gates != [NO_GATE]:
            raise ValueError(
                "steering.unit is 'kl' and steering.gates has a gate: doses for so many nats are "
                "found on texts that are steered at all positions of the scope. Leave gates out, "
                "or use steering.unit: dose"
            )
        check_scope("steering", self)
        if (IMPORTED in self.directions) != (self.vector_file is not None):
            raise ValueError(
                f"steering.directions is {self.directions} and steering.vector_file is "
                f"{self.vector_file!r}: the direction {IMPORTED!r} is read from that file, and no "
                "other is. Set both or neither"
            )
        parse_layers(self.layers)
        self._parts_fit()
        return self

    def _parts_fit(self) -> None:
        if self.together is None:
            return
        for number, part in enumerate(self.together):
            name = f"steering.together[{number}]"
            if part.direction not in self.directions:
                raise ValueError(
                    f"{name}.direction is {part.direction!r}, and steering.directions is "
                    f"{self.directions}: vectors are made of these alone. Add it there"
                )
            if part.weight == 0.0 or (number == 0 and part.weight != 1.0):
                raise ValueError(
                    f"{name}.weight is {part.weight}: weights are strengths in units of the first "
                    "part's, which has 1, and none is 0. Divide all by the first one, and leave "
                    "parts out that do nothing"
                )
            check_scope(name, part)
        if len(self.together) < 2:
            raise ValueError(
                f"steering.together names {len(self.together)} parts: it is for several vectors. "
                "For one, take the method caa"
            )

    def _every_key_does_something(self) -> None:
        kinds = {catalogue.METHODS[method].kind for method in self.methods}
        if self.band > 1 and ("prompt_start" in kinds or "residual" not in kinds):
            residual = " and ".join(catalogue.of_kind("residual"))
            raise ValueError(
                f"steering.band is {self.band} and steering.methods is {self.methods}: methods of "
                f"the residual stream ({residual}) steer bands, those of the prompt's start one "
                "layer, and those of attention heads choose none. Leave band out, or name no "
                "methods but those of the residual stream and of heads, one of the first among them"
            )
        for key, field in type(self).model_fields.items():
            name, value = f"steering.{key}", getattr(self, key)
            needing = [m for m in self.methods if name in catalogue.METHODS[m].needs]
            if needing and value is None:
                raise ValueError(
                    f"steering.methods is {self.methods} and {name} is {value}: {needing[0]} is "
                    "made from it. Set both or neither"
                )
            owners = catalogue.users(name)
            if owners and value != field.default and not set(owners) & set(self.methods):
                names = " or ".join(owners)
                both = name in catalogue.METHODS[owners[0]].needs
                raise ValueError(
                    f"{name} is {value!r}, but of steering.methods {self.methods} none uses it: it "
                    f"is for {names}. "
                    + ("Set both or neither" if both else f"Add {names}, or leave {key} out")
                )
