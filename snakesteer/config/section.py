"""What all sections of the config have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of keys: unknown keys are refused, values cannot change after validation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def check_braces(key: str, path: str) -> str:
    """Refuse a path with braces.

    Args:
        key: The config key, for the message.
        path: Its value.

    Raises:
        ValueError: It has some.
    """
    if "{" in path or "}" in path:
        raise ValueError(
            f"{key} is {path!r}: Snakemake takes braces in a path for wildcards. Rename the folder"
        )
    return path
