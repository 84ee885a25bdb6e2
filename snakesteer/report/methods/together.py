"""Several vectors at once, in words."""

from snakesteer.report.methods import RunConfig
from snakesteer.report.methods.caa import OPERATOR_WORDS, scope_words

TITLE = "several vectors"


def sentence(config: RunConfig, blocks: str) -> str:
    """What was changed at once, in this order."""
    steering = config["steering"]
    parts = "; ".join(
        f"({number}) behind block {part['layer']} by {OPERATOR_WORDS[part['operator']]}, with the "
        f"{part['direction']} direction at {part['weight']:g} times the strength, "
        f"{scope_words(part)}"
        for number, part in enumerate(steering["together"], start=1)
    )
    return f"Several vectors changed the residual stream of every text, in this order: {parts}."
