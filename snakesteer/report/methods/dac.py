"""DAC in words, in its form for the residual stream."""

from snakesteer.report.methods import RunConfig

TITLE = "DAC"

PER_TOKEN = "; the KL divergence was divided by the number of tokens that it is taken over"


def sentence(config: RunConfig, blocks: str) -> str:
    """What was added, and how its strength was set."""
    return (
        "DAC, in a form for the residual stream, added α·α_t times the vector to the output of a "
        "block, with α_t set at every token by how much steering at "
        f"{config['steering']['dac_probe']:g}α would change the next-token distribution "
        f"(after [@scalena2024dac]){kl_words(config)}."
    )


def kl_words(config: RunConfig) -> str:
    """How the KL divergence was taken, where that is not the plain one."""
    return PER_TOKEN if config["steering"]["dac_kl"] == "per_token" else ""
