"""How deep a model is, as far as that can be known before it is loaded."""

from pathlib import Path

from snakesteer.config import EMBEDDED_MODEL, EMBEDDED_MODEL_LAYERS, ModelConfig
from snakesteer.files import read_json

# Names that HuggingFace configs use for the number of decoder blocks.
DEPTH_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def depth_before_download(model: ModelConfig) -> int | None:
    """The number of decoder blocks from the config or a local folder, without network or torch.

    Args:
        model: The model section.

    Returns:
        None where it is not known yet; the first rule that reads the model checks it then.

    Raises:
        UserError: A local folder whose config.json is no JSON.
    """
    if model.name == EMBEDDED_MODEL:
        return EMBEDDED_MODEL_LAYERS
    config = Path(model.name) / "config.json"
    if config.is_file():
        values = read_json(config)
        values = values.get("text_config", values)
        return next((values[key] for key in DEPTH_KEYS if key in values), model.num_layers)
    return model.num_layers
