"""ActAdd in words."""

from snakesteer.report.methods import RunConfig

TITLE = "ActAdd"


def sentence(config: RunConfig, blocks: str) -> str:
    """What was added, and where in the prompt."""
    plus, minus = config["steering"]["actadd_prompts"]
    return (
        "ActAdd [@turner2023actadd] added α times the difference between the activations of the "
        f"prompts “{plus}” and “{minus}” at the output of one of the blocks {blocks} (counted from "
        "0), position by position at the start of the prompt."
    )
