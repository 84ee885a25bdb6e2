"""Many runs from one config: a table of what each changes, and replicates of each."""

from typing import Any, Literal

from pydantic import Field, field_validator

from snakesteer.config.section import Section

SeedName = Literal["data", "prompt", "pairs", "training", "search", "generation"]

# The seed of what can be drawn anew.
SEEDS: dict[SeedName, tuple[str, str]] = {
    "data": ("data", "seed"),
    "prompt": ("prompt", "shots_seed"),
    "pairs": ("pairs", "seed"),
    "training": ("training", "seed"),
    "search": ("search", "seed"),
    "generation": ("generation", "seed"),
}


class ReplicatesConfig(Section):
    """The same run with other seeds: what a claim about steering is a claim over."""

    seeds: int = Field(
        1,
        ge=1,
        description="Runs of each configuration; the first has the seeds of the config, each "
        "further one all of `vary` raised by one.",
    )
    vary: list[SeedName] = Field(
        ["data", "prompt", "pairs", "training", "search"],
        description="What is drawn anew in each: problems and splits, few-shot examples, contrast "
        "pairs, trained vectors, the search, and sampled answers.",
    )

    @field_validator("vary")
    @classmethod
    def _something_varies(cls, value: list[SeedName]) -> list[SeedName]:
        if not value or len(set(value)) != len(value):
            raise ValueError(
                f"replicates.vary is {value}: name what is drawn anew, each once. Replicates that "
                "vary in nothing are one run"
            )
        return value


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested values."""
    *sections, leaf = key.split(".")
    for name in sections:
        values = values.setdefault(name, {})
    values[leaf] = value
