"""CAA in words."""

from collections.abc import Sequence
from typing import Any

from snakesteer.config import NO_GATE
from snakesteer.report.methods import RunConfig
from snakesteer.report.wording import gate_words

TITLE = "CAA"

SCOPE_WORDS = {
    "from_last_prompt_token": "from the last prompt token on",
    "all": "at all positions",
    "generated_only": "at generated tokens only",
    "last_prompt_token": "at the last prompt token only",
    "first_k": "at the first {first_k} positions from the last prompt token on",
    "generated_window": "at the generated tokens {first} to {last}, counted from 0",
    "outside_generated_window": "at generated tokens other than {first} to {last}, counted from 0",
    "at_tokens": "at generated tokens {tokens}",
    "not_at_tokens": "at generated tokens but those {tokens}",
}
OPERATOR_WORDS = {
    "add": "adding α times the vector",
    "clamp": "setting the component along the vector to α times its length",
    "norm_preserving": "adding α times the vector and restoring the length [@zou2023repe]",
    "angular": "turning it towards the vector by an angle, after [@vu2025angular]",
    "rotate": "turning it by an angle in the plane of the vector and the residual stream's mean, "
    "after [@vu2025angular]",
    "ablate": "removing a share of the component along the vector [@arditi2024refusal]",
}


def sentence(config: RunConfig, blocks: str) -> str:
    """What was changed, where, and how."""
    steering = config["steering"]
    scope = scope_words(steering)
    if steering["operators"] == ["add"]:
        said = f"CAA [@rimsky2024caa] added α times the vector to the output of a block, {scope}."
        return said + _gates(steering.get("gates", ()))
    operators = "; or by ".join(OPERATOR_WORDS[name] for name in steering["operators"])
    said = f"CAA [@rimsky2024caa] changed the output of a block, {scope}, by {operators}."
    return said + _gates(steering.get("gates", ()))


def scope_words(steering: RunConfig) -> str:
    """The positions of a scope.

    Args:
        steering: Has ``scope`` and the keys that go with it.
    """
    first, end = steering["generated_window"] or (0, 0)
    rule = steering["at_tokens"]
    tokens = f"among {list(rule or ())}"
    if isinstance(rule, str):
        tokens = "that match “{}”".format(rule.replace("\n", r"\n"))  # one paragraph stays one
    return SCOPE_WORDS[steering["scope"]].format(
        first_k=steering["first_k"], first=first, last=end - 1, tokens=tokens
    )


def _gates(gates: Sequence[Any]) -> str:
    """On which conditions, as a sentence; nothing without gates."""
    words = [gate_words(gate) for gate in gates if gate != NO_GATE]
    if not words:
        return ""
    always = "either at all of these positions, or only" if len(words) < len(gates) else "only"
    return (
        f" It did so {always} where {'; or where '.join(words)}: a gate after CAST [@lee2024cast], "
        "scored on the output before it is steered."
    )
