"""Inference-time intervention in words."""

from snakesteer.report.methods import RunConfig

TITLE = "inference-time intervention"


def sentence(config: RunConfig, blocks: str) -> str:
    """What was added at which heads."""
    return (
        "Inference-time intervention [@li2023iti] added, at the "
        f"{config['heads']['iti_heads']} attention heads whose probes told validation pairs apart "
        "best, α standard deviations along the mean difference of the train pairs."
    )
