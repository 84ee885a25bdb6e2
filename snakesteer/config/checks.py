"""Checks before the search."""

from pydantic import Field

from snakesteer.config.section import Section


class ChecksConfig(Section):
    """The zero-steering gate: before the search, hooks must prove to do what they should."""

    prompts: int = Field(
        32,
        ge=1,
        description="Validation prompts on which steering at strength 0 is compared with the model "
        "without hooks; all, where there are fewer.",
    )
    new_tokens: int = Field(3, ge=1, description="Generated tokens per prompt in that comparison.")
