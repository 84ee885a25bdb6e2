"""DAC in words, as published."""

from snakesteer.report.methods import RunConfig
from snakesteer.report.methods.dac import kl_words

TITLE = "DAC at heads"

SCHEDULES = {
    "dynamic": "α set at every token by how much steering would change the next-token distribution",
    "fixed": "a constant α",
    "start": "α at the last prompt token alone",
    "diminishing": "an α that falls to 0 over these tokens",
}
AFTER = {
    "zero": "nothing",
    "hold": "the last token's difference",
    "mean": "the mean of these differences",
}


def sentence(config: RunConfig, blocks: str) -> str:
    """What was added at which heads, and how its strength was set."""
    steering, heads = config["steering"], config["heads"]
    dynamic = steering["heads_schedule"] == "dynamic"
    return (
        "DAC [@scalena2024dac] added, at all attention heads before their output projection, α "
        "times the mean difference between the heads' outputs behind right and behind wrong worked "
        f"examples ({heads['prompts']} prompts from train with {heads['examples']} examples each), "
        f"token by token for {heads['steps']} tokens, and {AFTER[steering['heads_after']]} after "
        f"them, with {SCHEDULES[steering['heads_schedule']]}{kl_words(config) if dynamic else ''}."
    )
