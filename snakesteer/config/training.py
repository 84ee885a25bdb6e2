"""Trained steering vectors."""

from typing import Literal

from pydantic import Field, model_validator

from snakesteer.config.section import Section

Objective = Literal["sft", "own_correct", "preference", "reinforce"]

# Keys that are for some objectives only.
_OWNERS: dict[str, tuple[Objective, ...]] = {
    "samples": ("own_correct", "preference", "reinforce"),
    "temperature": ("own_correct", "preference", "reinforce"),
    "beta": ("preference",),
    "problems_per_step": ("reinforce",),
    "kl": ("reinforce",),
}


class TrainingConfig(Section):
    """The direction `trained`: the weights stay, the vectors learn from the train split."""

    objective: Objective = Field(
        "sft",
        description="What vectors learn from. `sft`: gold solutions; `own_correct`: the model's "
        "own right answers; `preference`: its right against its wrong answers to the same problem "
        "(BiPO); `reinforce`: rewards of answers that it draws while it learns.",
    )
    epochs: int = Field(4, ge=1, description="Passes over the train problems.")
    learning_rate: float = Field(
        0.015,
        gt=0.0,
        description="Dose of the first step of Adam (its length in mean residual norms); layers "
        "that are trained together share it.",
    )
    batch_tokens: int = Field(
        128,
        ge=1,
        description="Tokens read at once, prompts left out. But for `reinforce`, the size of a "
        "step, too.",
    )
    max_dose: float = Field(
        0.5, gt=0.0, description="Longest vector, in mean residual norms of its layer."
    )
    held_out: float = Field(
        0.1,
        ge=0.0,
        lt=1.0,
        description="Share of the train problems that are not learned from; the epoch that does "
        "best on them is taken. 0 takes the last epoch.",
    )
    seed: int = Field(0, ge=0, description="Draws held-out problems, batches and answers.")
    samples: int = Field(
        8, ge=2, le=256, description="The model's answers per problem; not for `sft`."
    )
    temperature: float = Field(
        1.0, gt=0.0, le=2.0, description="Temperature of those answers; not for `sft`."
    )
    beta: float = Field(
        0.1, gt=0.0, description="How far a preference may grow, for `preference` only."
    )
    problems_per_step: int = Field(
        16, ge=1, description="Problems that are answered before every step, for `reinforce` only."
    )
    kl: float = Field(
        0.0,
        ge=0.0,
        description="Weight of the KL to the unsteered model per token, for `reinforce` only.",
    )

    @model_validator(mode="after")
    def _every_key_does_something(self) -> "TrainingConfig":
        for key, owners in _OWNERS.items():
            value = getattr(self, key)
            if self.objective not in owners and value != type(self).model_fields[key].default:
                raise ValueError(
                    f"training.{key} is {value}, but training.objective is {self.objective!r}, "
                    f"which does not use it: it is for {' and '.join(owners)}. Leave {key} out, or "
                    "choose another objective"
                )
        return self
