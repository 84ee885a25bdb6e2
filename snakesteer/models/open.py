"""The model of a script, from its rule's parameters and inputs."""

from collections.abc import Sequence
from pathlib import Path

from snakesteer.config import EMBEDDED_MODEL, ModelConfig
from snakesteer.config.params import Params, section
from snakesteer.models.devices import lease_gpu
from snakesteer.models.loading import LoadedModel, load_causal_lm
from snakesteer.records.files import read_json


def model_section(params: Params, embedded: Sequence[str]) -> ModelConfig:
    """The model section with the embedded model's name replaced by its folder.

    Args:
        params: The rule's parameters, with the model section's leaves.
        embedded: The embedded model's weight file; empty for other models.
    """
    model = section(ModelConfig, "model", params)
    if model.name != EMBEDDED_MODEL:
        return model
    return model.model_copy(update={"name": str(Path(embedded[0]).parent)})


def open_model(params: Params, info: str | Path, gpus: int, threads: int) -> LoadedModel:
    """Load the model at the commit that the first rule found.

    Args:
        params: The rule's parameters, with the model section's leaves.
        info: ``model/info.json``.
        gpus: GPUs that the workflow granted.
        threads: CPU threads.
    """
    found = read_json(info)
    model = section(ModelConfig, "model", params)
    pinned = {"name": found["name"], "revision": found["commit"] or model.revision}
    lease = lease_gpu() if gpus > 0 and model.device in ("auto", "cuda") else None
    return load_causal_lm(model.model_copy(update=pinned), gpus, threads, lease)
