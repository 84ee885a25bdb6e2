"""ActAdd in words."""

from snakesteer.report.methods import RunConfig

TITLE = "ActAdd"


def sentence(config: RunConfig, blocks: str) -> str:
    """What was added, and where in the prompt."""
    plus, minus = config["steering"]["actadd_prompts"]
    where = f"one of {blocks}" if "," in blocks else blocks
    return (
        "ActAdd [@turner2023actadd] added α times the difference between the activations of the "
        f"prompts “{plus}” and “{minus}” at the output of {where} (counted from 0), position by "
        "position at the start of the prompt."
    )
