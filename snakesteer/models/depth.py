"""What can be known of a model before it is loaded: its depth, and its files on this disk."""

from pathlib import Path

from snakesteer.config import EMBEDDED_MODEL, EMBEDDED_MODEL_LAYERS, ModelConfig
from snakesteer.errors import UserError
from snakesteer.models.adapters import refuse_adapter_folder
from snakesteer.records.files import read_json
from snakesteer.records.library_causes import USER_FILE

# Names that HuggingFace configs use for the number of decoder blocks.
DEPTH_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")

_MODEL_FILES = (".json", ".safetensors", ".bin", ".gguf", ".model", ".txt", ".jinja", ".py")


def depth_before_download(model: ModelConfig) -> int | None:
    """The number of decoder blocks from the config or a local folder, without network or torch.

    Args:
        model: The model section.

    Returns:
        None where it is not known yet; the first rule that reads the model checks it then.

    Raises:
        UserError: See `check_folder`; or its config.json is no JSON, or has no number there.
    """
    if model.name == EMBEDDED_MODEL:
        return EMBEDDED_MODEL_LAYERS
    check_folder(model)
    config = Path(model.name) / "config.json"
    if not config.is_file():
        config = _cached_config(model) or config
    if config.is_file():
        values = read_json(config, USER_FILE)
        values = values if isinstance(values, dict) else {}
        text = values.get("text_config")
        values = text if isinstance(text, dict) else values
        depth = next((values[key] for key in DEPTH_KEYS if key in values), model.num_layers)
        if depth is not None and not (isinstance(depth, int) and depth > 0):
            raise UserError(
                f"{config} says that the model has {depth!r} layers",
                "Check that the folder holds the whole model, as it was saved.",
            )
        return depth
    return model.num_layers


def check_folder(model: ModelConfig) -> None:
    """Refuse a name that can only be a folder on this disk, and is none with a model.

    Args:
        model: The model section; a hub id is let through.

    Raises:
        UserError: There is no such folder, it is a file, it holds an adapter alone, or it lacks
            the GGUF file.
    """
    path = Path(model.name)
    if path.is_file():
        raise UserError(
            f"model.name is {model.name!r}, which is a file",
            f"Set model.name to its folder, {str(path.parent)!r}; a GGUF file in it is named by "
            "model.gguf_file.",
        )
    if not path.is_dir():
        if model.name.startswith(("/", ".")) or model.name.count("/") > 1:
            raise UserError(
                f"model.name is {model.name!r}, but there is no such folder",
                "Name a folder with a saved model, or a hub id such as openai-community/gpt2.",
            )
        return
    refuse_adapter_folder(model.name)
    if model.gguf_file is not None and not (path / model.gguf_file).is_file():
        there = ", ".join(sorted(file.name for file in path.glob("*.gguf"))) or "none"
        raise UserError(
            f"model.gguf_file is {model.gguf_file!r}, but {model.name!r} has no such file",
            f"Correct it; the folder's GGUF files: {there}.",
        )


def local_files(name: str) -> list[str]:
    """The files of a model folder, so that new weights in it rerun what they affect.

    Args:
        name: A folder, or a hub id, which has none here.
    """
    folder = Path(name)
    return sorted(str(path) for path in folder.glob("*") if path.suffix in _MODEL_FILES)


def _cached_config(model: ModelConfig) -> Path | None:
    """config.json in HuggingFace's cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    except HFValidationError:  # no hub id: the first rule that reads the model says so
        return None
    return Path(found) if isinstance(found, str) else None
