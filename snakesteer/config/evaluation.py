"""What is said of the search's result, and how it is questioned."""

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from snakesteer.config import catalogue
from snakesteer.config.section import Section, check_once, written_out

# Several vectors at once have their layers from the configuration.
LAYERED = [
    name
    for name in catalogue.of_kind("residual")
    if "steering.together" not in catalogue.METHODS[name].needs
]


def _layered(method: str) -> str:
    if method not in LAYERED:
        raise ValueError(
            f"sensitivity.methods names {method!r}, which does not steer single layers of the "
            f"residual stream. Name some of {', '.join(LAYERED)}"
        )
    return method


Layered = Annotated[str, AfterValidator(_layered), Field(json_schema_extra={"enum": LAYERED})]


class EvaluationConfig(Section):
    """Test statistics. The objective everywhere is the numeric match of the final answer."""

    bootstrap_resamples: int = Field(
        10000, ge=100, description="Resamples of the paired bootstrap (and of the sign-flip test)."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="Of the intervals.")
    seed: int = Field(0, ge=0, description="Of the bootstrap, and of the controls.")
    samples: int = Field(
        1, ge=1, le=256, description="Answers per test problem, with `generation.do_sample` only."
    )
    margin: float = Field(
        0.02,
        gt=0.0,
        lt=1.0,
        description="Difference in accuracy that does not matter: smaller ones are `equivalent`, "
        "where enough problems say so.",
    )
    planned_changes: float = Field(
        0.1,
        gt=0.0,
        le=1.0,
        description="Share of answers that steering is expected to change, right or wrong: says "
        "before the run how small an effect the test can find.",
    )
    random_controls: int = Field(
        5,
        ge=1,
        le=100,
        description="Random directions that the chosen one is compared with. 19 are the fewest "
        "that can show p = 0.05.",
    )
    shuffled_controls: int = Field(
        5, ge=1, le=100, description="The same for vectors of shuffled labels."
    )
    prompt_control: str = Field(
        "Think step by step and check every calculation.",
        min_length=1,
        description="An instruction that the unsteered model gets as another control.",
    )
    ledger: str = Field(
        "test_ledger",
        min_length=1,
        description="Folder in which every read of a test split is written down, over all runs; "
        "outside the results.",
    )

    @field_validator("ledger")
    @classmethod
    def _written_out(cls, value: str) -> str:
        return written_out("evaluation.ledger", value)


class SensitivityConfig(Section):
    """Accuracy over strength, method and layer on validation: the target `sensitivity`."""

    strengths: list[float] = Field(
        [-0.2, -0.1, -0.05, 0.05, 0.1, 0.2],
        min_length=1,
        description="In the unit `steering.unit`; no steering is always among them.",
    )
    methods: list[Layered] = Field(
        ["caa"], min_length=1, description="Methods to look at, of those that steer single layers."
    )
    in_report: bool = Field(
        False, description="Show it in the report, which makes it part of every run."
    )

    @model_validator(mode="after")
    def _values_agree(self) -> "SensitivityConfig":
        if 0.0 in self.strengths or len(set(self.strengths)) < len(self.strengths):
            raise ValueError(
                f"sensitivity.strengths is {self.strengths}, with 0 (which is always there) or a "
                "value twice. Name every other strength once"
            )
        check_once("sensitivity.methods", self.methods)
        return self
