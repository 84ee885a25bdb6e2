"""A GGUF file, found and unpacked into a copy as safetensors, with its tokenizer.

The weights of the copy are float32, which is what GGUF's are unpacked to: read in any dtype, they
have the bits of the file read in that dtype.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from snakesteer.config import ModelConfig
from snakesteer.errors import UserError
from snakesteer.models.copies import GGUF_FOLDER, SOURCE, gguf_copy_name
from snakesteer.models.loading import (
    check_complete,
    download_model,
    explained,
    load_config_of,
)
from snakesteer.models.outputs import spread_ids
from snakesteer.models.quantization import unpacked
from snakesteer.records.files import read_json, sha256_file, write_json

_CHECK_TEXTS = (
    "Question: Tom has 12 apples and eats 5 of them. How many are left?\nAnswer: 12-5=<<12-5=7>>7",
    "Hello  world\n\n  x\t\ty 7 I'm don't é 日本 🙂",
)


def find_gguf(model: ModelConfig) -> dict[str, Any]:
    """What a GGUF file is, by its hash; a hub's file is downloaded.

    Args:
        model: The model section, with a GGUF file.

    Returns:
        The model's name and revision, its commit on the hub, the file and its SHA-256.

    Raises:
        UserError: It is not there, or no GGUF file that transformers can read.
    """
    commit = getattr(load_config_of(model), "_commit_hash", None)
    download_model(model, commit)
    return {
        "name": model.name,
        "revision": model.revision,
        "commit": commit,
        "file": model.gguf_file,
        "sha256": sha256_file(_path(model.name, model.gguf_file, commit or model.revision)),
    }


def copy_gguf(source: Mapping[str, Any], folder: Path) -> None:
    """Unpack a GGUF file into a folder, checked against what the file itself gives.

    Args:
        source: From `find_gguf`.
        folder: Folder to create or replace; appears complete or not at all. `SOURCE` in it is
            `source`.

    Raises:
        UserError: The file cannot be read, lacks weights, or cannot be copied faithfully.
    """
    transformers.utils.logging.disable_progress_bar()
    pinned = source["commit"] or source["revision"]
    place = {} if Path(source["name"]).is_dir() else {"revision": pinned}
    place["gguf_file"] = source["file"]
    with explained(source["name"]):
        original, report = AutoModelForCausalLM.from_pretrained(
            source["name"],
            dtype=torch.float32,
            output_loading_info=True,
            **place,
            **unpacked(),
        )
        tokenizer = AutoTokenizer.from_pretrained(source["name"], **place)
    check_complete(report, source["name"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".copy-") as work:
        new = Path(work, "new")
        _plain(original).save_pretrained(new, max_shard_size="1TB")  # one file, whose name is known
        tokenizer.save_pretrained(new)
        write_json(new / SOURCE, source)
        _check_same(original.eval(), tokenizer, new, source["file"])
        if folder.exists():
            os.replace(folder, Path(work, "old"))
        os.replace(new, folder)


def with_copy(model: ModelConfig) -> ModelConfig:
    """The model section of a GGUF model's copy, where the workflow left one that is of this file.

    Args:
        model: The model section; comes back as it is where there is no copy.
    """
    folder = Path(GGUF_FOLDER, gguf_copy_name(model))
    if model.gguf_file is None or not (folder / SOURCE).is_file():
        return model
    source = read_json(folder / SOURCE)
    try:
        path = _path(model.name, model.gguf_file, source["commit"] or model.revision)
        if sha256_file(path) != source["sha256"]:
            return model
    except (OSError, UserError):  # loading it says what is wrong
        return model
    return model.model_copy(update={"name": str(folder), "gguf_file": None})


def _path(name: str, file: str | None, revision: str | None) -> Path:
    """A GGUF file on this disk: in its folder, or in HuggingFace's cache."""
    if Path(name).is_dir():
        return Path(name, str(file))
    with explained(name):
        return Path(hf_hub_download(name, str(file), revision=revision))


def _plain(original: Any) -> Any:
    """The same weights in a model that does not call itself quantised, and can be saved."""
    settings = original.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "transformers_version"):
        settings.pop(key, None)
    plain = type(original).from_pretrained(
        None,
        config=type(original.config)(**settings),
        state_dict=original.state_dict(),
        dtype=torch.float32,
    )
    # Of its defaults the library keeps the tokens only, and others may not be fit to be saved.
    tokens = ("bos_token_id", "eos_token_id", "pad_token_id")
    defaults = original.generation_config
    plain.generation_config = GenerationConfig(**{key: getattr(defaults, key) for key in tokens})
    return plain


@torch.inference_mode()
def _check_same(original: Any, tokenizer: Any, folder: Path, file: str) -> None:
    """Compare a copy with what it was made from: weights and logits bit by bit, tokens."""
    copy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    saved = AutoTokenizer.from_pretrained(folder)
    weights, copied = original.state_dict(), copy.state_dict()
    ids = spread_ids(original)
    same = {
        "weights": weights.keys() == copied.keys()
        and all(torch.equal(weights[key], copied[key]) for key in weights),
        "logits": torch.equal(
            original(ids, use_cache=False).logits, copy(ids, use_cache=False).logits
        ),
        "tokens": all(tokenizer(text).input_ids == saved(text).input_ids for text in _CHECK_TEXTS),
        "template": tokenizer.chat_template == saved.chat_template,
    }
    if not all(same.values()):
        other = ", ".join(key for key, value in same.items() if not value)
        raise UserError(
            f"The copy of {file} has other {other} than the file itself, with transformers "
            f"{transformers.__version__} and torch {torch.__version__}",
            "Install the pinned versions (pip install -r requirements.txt), or take the model's "
            "safetensors.",
        )
