"""Methods that steer attention heads."""

from typing import Literal, get_args

from pydantic import Field

from snakesteer.config.section import Section

HeadMethod = Literal["dac_heads", "iti"]
HEAD_METHODS: tuple[HeadMethod, ...] = get_args(HeadMethod)
Schedule = Literal["dynamic", "fixed", "start", "diminishing"]
After = Literal["zero", "hold", "mean"]


class HeadsConfig(Section):
    """Methods `dac_heads` and `iti`, which steer the heads of all layers."""

    prompts: int = Field(
        30, ge=1, description="Prompts with right and with wrong examples, for `dac_heads`."
    )
    examples: int = Field(4, ge=1, le=64, description="Examples in each of them.")
    steps: int = Field(
        30, ge=1, description="Generated tokens that have vectors of their own, for `dac_heads`."
    )
    seed: int = Field(0, ge=0, description="Draws those prompts.")
    schedule: Schedule = Field(
        "dynamic",
        description="Strength of `dac_heads` from token to token: set by the KL (`dynamic`), "
        "`fixed`, `start` (the last prompt token alone), or `diminishing` (to 0 after `steps`).",
    )
    after: After = Field(
        "mean",
        description="What `dac_heads` adds past `steps`: nothing (`zero`), the last step's vectors "
        "(`hold`), or the mean over all steps.",
    )
    iti_heads: int = Field(
        48, ge=1, description="Heads that `iti` steers, those with the best probes."
    )
