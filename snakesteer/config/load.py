"""From the merged YAML to a typed config, with messages that say what to change."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from snakesteer.config import Config
from snakesteer.errors import UserError

# Keys that went by another name, where that is not close enough to be guessed.
RENAMED = {"search.trials_per_round": "trials_in_flight"}


def load_config(values: Mapping[str, Any]) -> Config:
    """Turn the merged YAML into a typed config.

    Args:
        values: What Snakemake read from config files and ``--config``.

    Raises:
        UserError: Unknown keys, wrong types or values that do not go together; names every one. Or
            the results cannot lie where they should.
    """
    config, problems = check_config(values)
    if config is None:
        raise UserError(
            "The configuration is not valid:\n"
            + "\n".join(f"  - {text}" for text in problems.values()),
            "Every key is explained in config/config.yaml.",
        )
    for path in (Path(config.results), *Path(config.results).parents):
        if path.exists() and not path.is_dir():
            raise UserError(
                f"results is {config.results!r}, but {path} is not a folder",
                "Set results to another folder.",
            )
    return config


def check_config(values: Mapping[str, Any]) -> tuple[Config | None, dict[str, str]]:
    """The typed config, or by key what is wrong, in a sentence with key, value and remedy.

    What is wrong between keys goes by its own sentence.
    """
    try:
        return Config.model_validate(dict(values)), {}
    except ValidationError as error:
        # One sentence a key: unions and lists report an error for every member.
        problems: dict[str, str] = {}
        for item in error.errors():
            key, text = _describe(item, values)
            problems.setdefault(key or text, text)
        return None, problems


def overlaid(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others laid over them, section by section, as Snakemake merges config files."""
    merged = dict(values)
    for key, value in others.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = overlaid(merged[key], value) if both else value
    return merged


def _describe(item: Any, values: Mapping[str, Any]) -> tuple[str, str]:
    """The key that a validation error is about, and a sentence with key, value and remedy."""
    if item["type"] == "value_error":  # raised by the config's validators: already a full sentence
        return "", f"{item['ctx']['error']}."
    section: type[BaseModel] = Config
    given: Any = values
    names: list[str] = []
    for part in map(str, item["loc"]):
        names.append(part)
        key = ".".join(names)
        field = section.model_fields.get(part)
        if field is None:
            close = difflib.get_close_matches(part, section.model_fields, n=1)
            meant = RENAMED.get(key, *close)
            hint = f"Did you mean {meant!r}?" if meant else "Remove it."
            known = ", ".join(section.model_fields)
            return key, f"{key} is not a known key. {hint} Known here: {known}."
        given = given[part]
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            message = item["msg"][0].lower() + item["msg"][1:]
            default = _yaml(field.get_default(call_default_factory=True))
            return key, (
                f"{key} = {_yaml(given)}: {message}. {field.description} Default: {default}."
            )
        section = field.annotation
    example = next(iter(section.model_fields))
    return key, (
        f"{key} = {_yaml(given)}: this must hold keys of its own, indented below it, such as "
        f"{key}: {{{example}: …}}."
    )


def _yaml(value: Any) -> str:
    """A value as one would write it into the config; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False, default=str)
