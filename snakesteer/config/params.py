"""Config sections as flat rule parameters, and back."""

from collections.abc import Mapping
from typing import Any, TypeVar

from snakesteer.config import Section

S = TypeVar("S", bound=Section)
Params = Mapping[str, Any]


def leaves(name: str, section: Section, *without: str) -> dict[str, Any]:
    """A section as flat rule parameters: ``{"data__seed": 0, …}``.

    Every leaf is a parameter of its own, in the typed model's order and with the typed model's
    values, so that neither key order nor ``1`` against ``1.0`` in a YAML file reruns anything.

    Args:
        name: Of the section; prefixes the parameters.
        section: The section.
        without: Keys that do not matter to the rule.
    """
    values = section.model_dump(mode="json", exclude=set(without))
    return {f"{name}__{key}": value for key, value in values.items()}


def section(kind: type[S], name: str, params: Mapping[str, Any]) -> S:
    """The inverse of `leaves`: a typed section from a rule's parameters, defaults filled in."""
    prefix = f"{name}__"
    values = {
        key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)
    }
    return kind.model_validate(values)


def nested(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Flat rule parameters as sections again, ``{"data": {"seed": 0, …}, …}``; no others."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in params.items():
        name, mark, leaf = key.partition("__")
        if mark:
            sections.setdefault(name, {})[leaf] = value
    return sections
