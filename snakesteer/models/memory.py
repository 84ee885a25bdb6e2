"""How much memory of its machine a job with a model needs, from what lies on this disk."""

from pathlib import Path

from snakesteer.config import EMBEDDED_MODEL, ModelConfig

# What Python, torch, CUDA and the answers need beside the weights, and the least that is asked for.
BESIDE_MB, FLOOR_MB = 4000, 8000
# Where nothing is known of the weights yet: enough for 3 billion parameters in float32.
UNKNOWN_MB = 16_000
# Weights as they are loaded, in sizes of their files, which mostly hold 16 bits a number.
COPIES, COPIES_FLOAT32 = 1.25, 2.25
_WEIGHTS = (".safetensors", ".bin")


def memory_mb(model: ModelConfig, files: list[str]) -> int:
    """Memory to ask for, in MB.

    The weights pass through the machine's memory on their way to a GPU, and stay there without one.

    Args:
        model: The model section.
        files: Those of the model that are known to the workflow; none for a hub id, whose files are
            looked for in HuggingFace's cache.
    """
    if model.name == EMBEDDED_MODEL and model.gguf_file is None:
        return FLOOR_MB
    size = weights_bytes(files) or weights_bytes(_cached_files(model))
    if size is None:
        return UNKNOWN_MB
    copies = COPIES_FLOAT32 if model.dtype == "float32" or model.device == "cpu" else COPIES
    return max(FLOOR_MB, BESIDE_MB + round(copies * size / 1e6))


def weights_bytes(files: list[str]) -> int | None:
    """Bytes of the files that hold weights; None where none is there yet.

    Of a model that is saved in both formats one counts, as one is read.
    """
    there = [path for path in map(Path, files) if path.is_file()]
    by_format = [
        sum(path.stat().st_size for path in there if path.suffix == suffix) for suffix in _WEIGHTS
    ]
    return next((size for size in by_format if size > 0), None)


def _cached_files(model: ModelConfig) -> list[str]:
    """The files of a hub model in HuggingFace's cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    except HFValidationError:  # no hub id
        return []
    return [str(path) for path in Path(config).parent.glob("*")] if isinstance(config, str) else []
