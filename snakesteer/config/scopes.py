"""Which positions are steered, as a configuration says it."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

Operator = Literal["add", "clamp", "norm_preserving", "angular", "ablate", "rotate"]
Scope = Literal[
    "from_last_prompt_token",
    "all",
    "generated_only",
    "last_prompt_token",
    "first_k",
    "generated_window",
    "outside_generated_window",
    "at_tokens",
    "not_at_tokens",
]


def _no_truth_values(rule: Any) -> Any:
    """Refuse what would be taken for the ids 0 and 1."""
    if isinstance(rule, list | tuple) and any(isinstance(one, bool) for one in rule):
        raise ValueError(
            f"at_tokens is {list(rule)}: YAML reads yes, no, on and off as true and false. Put "
            'such tokens into quotation marks: ["yes"]'
        )
    return rule


# Token ids and texts of tokens, or a regular expression.
TokenRule = Annotated[tuple[int | str, ...] | str, BeforeValidator(_no_truth_values)]
# Scopes that a key goes with.
_SCOPES_OF = {
    "first_k": ("first_k",),
    "generated_window": ("generated_window", "outside_generated_window"),
    "at_tokens": ("at_tokens", "not_at_tokens"),
}

SCOPES_WITH_KEYS = tuple(scope for scopes in _SCOPES_OF.values() for scope in scopes)


def check_scope(name: str, section: Any) -> None:
    """Refuse a scope without the keys that go with it, and keys without their scope.

    Args:
        name: What messages call the section.
        section: Has ``scope``, ``first_k``, ``generated_window`` and ``at_tokens``.

    Raises:
        ValueError: Names the key.
    """
    for key, scopes in _SCOPES_OF.items():
        value = getattr(section, key)
        if (section.scope in scopes) != (value is not None):
            names = " or ".join(map(repr, scopes))
            raise ValueError(
                f"{name}.scope is {section.scope!r} and {name}.{key} is {value!r}: {key} goes "
                f"with scope {names}, and only with it. Set both or neither"
            )
    if section.at_tokens is not None:
        _check_rule(name, section.at_tokens)
    if section.generated_window is not None:
        first, end = section.generated_window
        if not 0 <= first < end:
            raise ValueError(
                f"{name}.generated_window is [{first}, {end}] and holds no token: tokens "
                "count from 0, and the second number is the first token behind the window. "
                "Write it as [a, b] with 0 <= a < b"
            )


def check_steers(name: str, section: Any, max_new_tokens: int) -> None:
    """Refuse a scope that no position of any answer is in.

    Args:
        name: What messages call the section.
        section: As for `check_scope`.
        max_new_tokens: The longest answer.

    Raises:
        ValueError: Names the scope.
    """
    read_back = max_new_tokens - 1  # generated tokens; nothing is asked behind the last one
    first, end = section.generated_window or (0, 0)
    nothing = {
        "generated_only": not read_back,
        "at_tokens": not read_back,
        "not_at_tokens": not read_back,
        "generated_window": first >= read_back,
        "outside_generated_window": first == 0 and end >= read_back,
    }
    if nothing.get(section.scope):
        window = f", {name}.generated_window is [{first}, {end}]" if end else ""
        raise ValueError(
            f"{name}.scope is {section.scope!r}{window} and generation.max_new_tokens is "
            f"{max_new_tokens}, of which the last token is not read back: no answer would be "
            f"steered. {'Choose another window' if end else 'Choose another scope'}, or raise "
            "generation.max_new_tokens"
        )


def _check_rule(name: str, rule: TokenRule) -> None:
    if isinstance(rule, str):
        try:
            re.compile(rule)
        except re.error as error:
            raise ValueError(
                f"{name}.at_tokens is {rule!r}, which is no regular expression: {error}. Correct "
                "it, or write a list of token ids and tokens"
            ) from error
    elif not rule or any(isinstance(one, int) and one < 0 for one in rule):
        raise ValueError(
            f"{name}.at_tokens is {list(rule)}: name at least one token, and ids from 0 on"
        )
