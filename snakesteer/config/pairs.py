"""Contrast pairs: what is set against what, and where it is read."""

from typing import Literal

from pydantic import Field, model_validator

from snakesteer.config.section import Section

PairKind = Literal[
    "gold_vs_corrupted",
    "model_correct_vs_wrong",
    "own_right_vs_wrong",
    "gold_vs_own_wrong",
    "prompt_contrast",
    "thoughts",
]
ReadPosition = Literal[
    "before_last_number",
    "first_difference",
    "last_token",
    "response_mean",
    "last_prompt_token",
    "blank_lines",
]

# What each kind of pair can be read at.
_OWN_READS: tuple[ReadPosition, ...] = ("response_mean", "last_token")
READS: dict[PairKind, tuple[ReadPosition, ...]] = {
    "gold_vs_corrupted": ("before_last_number", "first_difference", *_OWN_READS),
    "model_correct_vs_wrong": _OWN_READS,
    "own_right_vs_wrong": _OWN_READS,
    "gold_vs_own_wrong": _OWN_READS,
    "prompt_contrast": ("last_prompt_token",),
    "thoughts": ("blank_lines",),
}
# Kinds that need the model's own samples.
SAMPLED: tuple[PairKind, ...] = (
    "model_correct_vs_wrong",
    "own_right_vs_wrong",
    "gold_vs_own_wrong",
    "thoughts",
)
# Kinds that set nothing right against something wrong.
UNGRADED: tuple[PairKind, ...] = ("prompt_contrast", "thoughts")
# Directions that are made of thoughts.
OF_THOUGHTS = ("seal", "seal_apart")


class PairsConfig(Section):
    """Contrast pairs: a right and a wrong side of the same train problem."""

    kind: PairKind = Field(
        "gold_vs_corrupted",
        description="`gold_vs_corrupted`: the gold solution against itself with a wrong number "
        "carried to the end; `model_correct_vs_wrong`: one right and one wrong sample of the "
        "model's own; `own_right_vs_wrong`: all its right against all its wrong samples, averaged "
        "per question; `gold_vs_own_wrong`: the gold solution against all its wrong samples; "
        "`prompt_contrast`: the question behind two instructions, no solution; `thoughts`: within "
        "the model's own samples, thoughts that go on against those that look back or change the "
        "way, told by keywords.",
    )
    read: ReadPosition = Field(
        "before_last_number",
        description="Where activations are read. `before_last_number`: the token before the last "
        "number in which the two texts differ; it is the same token on both sides, and only what "
        "was written earlier differs. `first_difference`: the first token that differs, so the "
        "vector says above all which digit is written. Both are for `gold_vs_corrupted`. "
        "`last_token`; `response_mean`: the mean over the response; `last_prompt_token`: for "
        "`prompt_contrast`; `blank_lines`: where the blank line before a thought ends, for "
        "`thoughts`.",
    )
    prompts: tuple[str, str] = Field(
        ("Think step by step.", "Answer with the number alone."),
        description="The two instructions of `prompt_contrast`, and only of it: what is wanted, "
        "and what is not.",
    )
    remove_token_means: bool = Field(
        False,
        description="Take off what the read tokens alone predict of the activations, before probes "
        "and directions are made (docs/methods.md).",
    )
    seed: int = Field(0, ge=0, description="Draws corruptions and samples.")
    samples: int = Field(8, ge=2, le=256, description="The model's own samples per question.")
    temperature: float = Field(0.7, gt=0.0, le=2.0, description="Temperature of those samples.")
    min_pairs: int = Field(4, ge=2, description="Fewer pairs in a split are an error.")

    @model_validator(mode="after")
    def _read_fits_the_kind(self) -> "PairsConfig":
        if self.read not in READS[self.kind]:
            raise ValueError(
                f"pairs.kind is {self.kind!r} and pairs.read is {self.read!r}: {self._misread()}. "
                f"Set pairs.read: {' or '.join(READS[self.kind])}"
            )
        first, second = (prompt.strip() for prompt in self.prompts)
        if not first or not second or first == second:
            raise ValueError(
                f"pairs.prompts is {list(self.prompts)}: that is no contrast. Write two different "
                "instructions"
            )
        if (
            self.kind != "prompt_contrast"
            and self.prompts != type(self).model_fields["prompts"].default
        ):
            raise ValueError(
                f"pairs.prompts is {list(self.prompts)}, but pairs.kind {self.kind!r} does not use "
                "it. Set pairs.kind: prompt_contrast with pairs.read: last_prompt_token, or leave "
                "prompts out"
            )
        return self

    def _misread(self) -> str:
        if self.kind == "thoughts":
            return "thoughts are read at the blank lines before them"
        if self.read == "blank_lines":
            return "there are no thoughts in such pairs"
        if self.kind == "prompt_contrast":
            return "two prompts without a solution are read where they end"
        if self.read == "last_prompt_token":
            return "both sides have the same prompt, and differ behind it"
        return (
            "solutions that were written apart first differ in their wording, so that this "
            "position would compare accidents of style"
        )
