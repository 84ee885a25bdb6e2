"""Gates: a condition on what the model holds, under which a row is steered."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from snakesteer.config import catalogue
from snakesteer.config.section import Section
from snakesteer.errors import UserError

if TYPE_CHECKING:  # the section reads its gates with this module
    from snakesteer.config.steering import SteeringConfig

Score = Literal["cosine", "projection"]
Side = Literal["above", "below"]
When = Literal["token", "prompt"]
NO_GATE: Final = "none"

_EXAMPLE = "{layer: 0.4, direction: caa, score: cosine, side: above, quantile: 0.5, when: token}"


class GateConfig(Section):
    """When a row is steered: where the score of a block's output is beyond a threshold.

    Attributes:
        layer: The block, counted from 0, or a fraction of the depth.
        direction: What its output is compared with: a direction that is estimated from pairs.
        score: ``cosine`` with the direction, or ``projection`` on it (length times cosine).
        side: On which side of the threshold the gate is open.
        quantile: The threshold, as a quantile of the scores of train texts.
        when: Whether every position has a score of its own (``token``), or the last prompt token's
            decides for the whole answer (``prompt``).
    """

    layer: int | float
    direction: str = "caa"
    score: Score = "cosine"
    side: Side = "above"
    quantile: float = Field(0.5, gt=0.0, lt=1.0)
    when: When = "token"

    @field_validator("layer")
    @classmethod
    def _in_the_model(cls, value: int | float) -> int | float:
        if value < 0 or (isinstance(value, float) and not 0.0 < value < 1.0):
            raise ValueError("no block counted from 0, and no fraction between 0 and 1")
        return value

    @field_validator("direction")
    @classmethod
    def _estimated(cls, value: str) -> str:
        if value not in catalogue.DIRECTIONS:
            raise ValueError(f"none of {', '.join(catalogue.DIRECTIONS)}")
        return value

    @property
    def name(self) -> str:
        """What results and trials call it."""
        condition = f"{self.score} {self.direction} layer {self.layer} {self.side}"
        return f"{self.when} {condition} {self.quantile}"

    @property
    def block(self) -> int:
        """The layer, where it has been settled."""
        assert isinstance(self.layer, int)
        return self.layer


class SettledGate(GateConfig):
    """A gate of a known model, with the threshold that its quantile gave."""

    threshold: float


def _one_gate(value: Any) -> Any:
    """Refuse what is no gate in one sentence, where a union has one for each of its members."""
    if value == NO_GATE or isinstance(value, GateConfig):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(
            f"steering.gates holds {value!r}, which is no gate. Write {NO_GATE}, or a gate such as "
            f"{_EXAMPLE}"
        )
    try:
        return GateConfig.model_validate(dict(value))
    except ValidationError as error:
        wrong = error.errors()[0]
        key = str(wrong["loc"][0])
        why, known = wrong["msg"].removeprefix("Value error, "), ", ".join(GateConfig.model_fields)
        said = {
            "missing": f"lacks {key}",
            "extra_forbidden": f"has {key!r}, which is none of {known}",
        }.get(wrong["type"], f"has {key}: {value.get(key)!r} ({why[0].lower()}{why[1:]})")
        raise ValueError(
            f"steering.gates holds a gate that {said}. A whole one is {_EXAMPLE}"
        ) from None


GateChoice = Annotated[Literal["none"] | GateConfig, BeforeValidator(_one_gate)]


def gates_of(steering: "SteeringConfig") -> list[GateConfig]:
    """The gates that a run may choose, without the choice of none."""
    return [gate for gate in steering.gates if isinstance(gate, GateConfig)]


def settled_gates(
    steering: "SteeringConfig", layers: list[int], num_layers: int | None
) -> "SteeringConfig":
    """The steering section with gates at layers of a model of known depth.

    Args:
        steering: The section.
        layers: That may be steered.
        num_layers: Depth of the model, None when it is not known yet.

    Raises:
        UserError: Fractions of an unknown depth, or a gate behind a layer that may be steered: it
            would have to be looked at before it is there.
    """
    found = [
        gate if isinstance(gate, str) else _settled(gate, num_layers) for gate in steering.gates
    ]
    for gate in found:
        if isinstance(gate, GateConfig) and gate.block > layers[0]:
            raise UserError(
                f"steering.gates has a gate at layer {gate.block}, behind layer {layers[0]}, which "
                "may be steered: a gate looks at a token before the token is steered",
                f"Let the gate look at layer {layers[0]} or an earlier one, or leave the layers "
                "before it out of steering.layers.",
            )
    return steering.model_copy(update={"gates": [*dict.fromkeys(found)]})


def _settled(gate: GateConfig, num_layers: int | None) -> GateConfig:
    if isinstance(gate.layer, int):
        return gate
    if num_layers is None:
        raise UserError(
            f"steering.gates has a gate at the fraction {gate.layer} of the depth, but the model's "
            "depth is not known before it has been downloaded",
            "Set model.num_layers, or give the gate's layer as a whole number.",
        )
    return gate.model_copy(update={"layer": round(gate.layer * (num_layers - 1))})
