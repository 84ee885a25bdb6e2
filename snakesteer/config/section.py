"""What all sections of the config have in common."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from snakesteer.errors import UserError
from snakesteer.records.paths import expanded


class Section(BaseModel):
    """A group of keys: unknown keys are refused, values cannot change after validation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def check_once(key: str, values: Sequence[Any]) -> None:
    """Refuse a list that names something twice.

    Args:
        key: The config key, for the message.
        values: Its value.

    Raises:
        ValueError: Names what is there twice.
    """
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{key} names {value!r} twice. Name each once")


def written_out(key: str, path: str) -> str:
    """A path with ``~`` and variables of the environment written out.

    So it is recorded, too: what a variable says elsewhere or later changes no record.

    Args:
        key: The config key, for the message.
        path: Its value.

    Raises:
        ValueError: A variable is not set, or there is no such user.
    """
    try:
        return expanded(path, key)
    except UserError as error:
        raise ValueError(f"{error.problem}. {error.remedy.rstrip('.')}") from None


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
