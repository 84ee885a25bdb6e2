"""LoRA adapters: what a folder or a hub id holds that has no model of its own.

transformers loads an adapter together with its base model where the package peft is installed, and
says that config.json is missing where it is not. Neither is wanted: a run is of one model, whose
files are its own. Merged into its base, an adapter becomes such a model.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from snakesteer.errors import UserError

logger = logging.getLogger(__name__)

ADAPTER = "adapter_config.json"


def refuse_adapter_folder(name: str) -> None:
    """Refuse a folder with an adapter and no model.

    Args:
        name: The folder; anything else is let through.

    Raises:
        UserError: Says how to merge it.
    """
    folder = Path(name)
    if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file():
        raise _merge_first(name, folder / ADAPTER)


def refuse_adapter_in(network: Any, name: str) -> None:
    """Refuse a model that transformers has put an adapter into; name one that was left out.

    It does so where a model has an adapter beside it and the package peft is installed, so that the
    same files would be one model here and another one there, or a merged adapter counted twice.

    Args:
        network: As it was loaded.
        name: Its folder or hub id.

    Raises:
        UserError: Says how to have one model.
    """
    if getattr(network, "_hf_peft_config_loaded", False):
        raise UserError(
            f"model.name is {name!r}, which holds a LoRA adapter ({ADAPTER}) beside a model, and "
            "transformers has put it in, as the package peft is installed",
            f"If the model's weights are merged with it, or shall go without, remove {ADAPTER} "
            "from the folder (download a hub model first); else merge it: docs/models.md.",
        )
    if (Path(name) / ADAPTER).is_file():
        logger.warning("%s holds a LoRA adapter beside its model, which is left out", name)


def refuse_hub_adapter(name: str, revision: str | None) -> None:
    """Refuse a hub id with an adapter and no model; asks the hub, or its cache.

    Args:
        name: A hub id whose config.json could not be read; a folder is let through.
        revision: Of the repository.

    Raises:
        UserError: Says how to merge it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if Path(name).exists():
        return
    # Where the hub does not answer, what it said of config.json is the better message.
    with suppress(OSError, ValueError, EntryNotFoundError):
        raise _merge_first(name, Path(hf_hub_download(name, ADAPTER, revision=revision)))


def _merge_first(name: str, adapter: Path) -> UserError:
    base = _base(adapter)
    # Trainers leave the tokenizer beside the adapter, most of the time.
    bare = Path(name).is_dir() and not list(Path(name).glob("tokenizer*"))
    tokenizer = base if base and bare else name
    merged = f"{Path(name).name}-merged"
    of_base = f" for the model {base!r}" if base else ""
    return UserError(
        f"model.name is {name!r}, which holds a LoRA adapter{of_base} ({ADAPTER}) and no model "
        "(config.json)",
        f"Merge it into its base once, and set model.name to the folder {merged!r} that this "
        "writes (`pip install peft` first):\n"
        "  from peft import AutoPeftModelForCausalLM\n"
        "  from transformers import AutoTokenizer\n"
        f"  model = AutoPeftModelForCausalLM.from_pretrained({name!r})\n"
        f"  model.merge_and_unload().save_pretrained({merged!r})\n"
        f"  AutoTokenizer.from_pretrained({tokenizer!r}).save_pretrained({merged!r})",
    )


def _base(adapter: Path) -> str | None:
    """The base model that an adapter names; None where its file cannot be read."""
    values: Any = None
    with suppress(OSError, ValueError):
        values = json.loads(adapter.read_text(encoding="utf-8"))
    base = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    return base if isinstance(base, str) else None
