"""The model of a script, from its rule's parameters and inputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakesteer.config import EMBEDDED_MODEL, ModelConfig
from snakesteer.config.params import Params, section
from snakesteer.models.copies import SOURCE
from snakesteer.models.devices import lease_gpus
from snakesteer.models.loading import (
    LoadedModel,
    describe_model,
    download_model,
    load_causal_lm,
)
from snakesteer.records.files import read_json, sha256_file


def model_record(params: Params, files: Sequence[str]) -> dict[str, Any]:
    """What is known of a model before its weights are read; what has to be downloaded is.

    Args:
        params: The rule's parameters, with the model section's leaves.
        files: The weight file of the embedded model, or of a GGUF model's copy; else the files of a
            local folder, none for a hub id.

    Returns:
        The content of model/info.json without the layers. ``sha256`` has the files that a folder's
        model is known by. A GGUF model goes by its file's name, hash and commit, and ``copy`` is
        the folder that is loaded in its place.

    Raises:
        UserError: The model cannot be read or downloaded, or contradicts ``model.num_layers``.
    """
    model = section(ModelConfig, "model", params)
    if model.gguf_file is not None:
        folder = Path(files[0]).parent
        source = read_json(folder / SOURCE)
        found = describe_model(_in_folder(model, folder))
        told = {key: source[key] for key in ("name", "revision", "commit")}
        hashes = {source["file"]: source["sha256"]}
        return {**found, **told, "sha256": hashes, "copy": str(folder)}
    if model.name == EMBEDDED_MODEL:
        model = _in_folder(model, Path(files[0]).parent)
    found = describe_model(model)
    download_model(model, found["commit"])
    # A hub model is known by its commit, a folder by its files.
    return {**found, "sha256": {Path(path).name: sha256_file(path) for path in files}}


def _in_folder(model: ModelConfig, folder: str | Path) -> ModelConfig:
    """The model section of an ordinary folder with the model in it."""
    place = {"name": str(folder), "revision": None, "gguf_file": None}
    return model.model_copy(update=place)


def open_model(
    params: Params, info: str | Path, gpus: int, threads: int, weights: bool = True
) -> LoadedModel:
    """Load the model at the commit that the first rule found.

    Args:
        params: The rule's parameters, with the model section's leaves.
        info: ``model/info.json``.
        gpus: GPUs that the workflow granted.
        threads: CPU threads.
        weights: See `load_causal_lm`.
    """
    found = read_json(info)
    model = section(ModelConfig, "model", params)
    if "copy" in found:
        pinned = _in_folder(model, found["copy"])
    else:
        commit = found["commit"] or model.revision
        pinned = model.model_copy(update={"name": found["name"], "revision": commit})
    lease = lease_gpus(model.gpus or 1) if gpus > 0 and model.device in ("auto", "cuda") else None
    return load_causal_lm(pinned, gpus, threads, lease, weights)
