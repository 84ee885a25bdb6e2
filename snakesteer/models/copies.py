"""Models that are read from a copy: where it lies, known without torch.

transformers unpacks a GGUF file each time it reads one, which takes 25 s for half a billion
weights. Such a model is therefore unpacked once, into an ordinary folder that all later jobs load.
"""

import json
import re
from pathlib import Path

from snakesteer.config import ModelConfig
from snakesteer.records.files import sha256_text

GGUF_FOLDER = "resources/gguf"
# What a copy says of the file that it was made from.
SOURCE = "source.json"


def gguf_copy_name(model: ModelConfig) -> str:
    """The name of the folder with a GGUF model's copy: its file's name and a hash.

    The hash is of what tells the file: folder or hub id, revision, and name. A file that changes in
    its folder keeps the name, and is copied anew.

    Args:
        model: The model section, with a GGUF file.
    """
    told = json.dumps([model.name, model.revision, model.gguf_file])
    stem = re.sub(r"[^\w.-]", "_", Path(str(model.gguf_file)).stem)
    return f"{stem}-{sha256_text(told)[:16]}"


def gguf_inputs(model: ModelConfig) -> list[str]:
    """The files of a local folder that a GGUF model is read from; none for a hub id.

    Args:
        model: The model section, with a GGUF file.
    """
    paths = [Path(model.name, name) for name in (str(model.gguf_file), "generation_config.json")]
    return [str(path) for path in paths if path.is_file()]
