"""Vectors of attention heads."""

from pydantic import Field

from snakesteer.config.section import Section


class HeadsConfig(Section):
    """The vectors of methods `dac_heads` and `iti`, which steer attention heads of all layers."""

    prompts: int = Field(
        30, ge=1, description="Prompts with right and with wrong examples, for `dac_heads`."
    )
    examples: int = Field(4, ge=1, le=64, description="Examples in each of them.")
    steps: int = Field(
        30, ge=1, description="Generated tokens that have vectors of their own, for `dac_heads`."
    )
    seed: int = Field(0, ge=0, description="Draws those prompts.")
    iti_heads: int = Field(
        48, ge=1, description="Heads that `iti` steers, those with the best probes."
    )
