"""Loading a causal LM and its tokenizer, ready to generate on a device."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from huggingface_hub import snapshot_download
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
)

from snakesteer.config import Device, Dtype, ModelConfig
from snakesteer.errors import UserError
from snakesteer.models.adapters import refuse_adapter_in, refuse_hub_adapter
from snakesteer.models.blocks import decoder_blocks, num_layers
from snakesteer.models.depth import check_folder
from snakesteer.models.devices import Lease, gpu_of_slurm
from snakesteer.models.finite import check_finite
from snakesteer.models.outputs import check_outputs
from snakesteer.models.quantization import quantization_arguments
from snakesteer.records.library_causes import MODEL, TOKENIZER
from snakesteer.records.library_errors import told
from snakesteer.records.machine import cores, processor

logger = logging.getLogger(__name__)

# Weights in formats of which a model repository holds several; safetensors is preferred.
_OTHER_WEIGHTS = (".bin", ".h5", ".msgpack", ".ot", ".onnx", ".pth", ".pt", ".tflite")
# Of most families; MPT; the decoders of Whisper and its kin.
_CONTEXTS = ("max_position_embeddings", "max_seq_len", "max_target_positions")


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in eval mode with what the engines need of it.

    Attributes:
        model: The HuggingFace causal LM.
        tokenizer: Its tokenizer.
        blocks: Its decoder blocks in order.
        device: Where its input goes.
        dtype: Of its activations.
        eos_ids: Token ids that end a text.
        pad_id: A valid id for padding; what it stands for never matters, as padding is masked.
        context: Longest sequence the positions allow, None where the config states none.
        lease: Keeps other jobs of the workflow off the model's GPUs.
        source: What it was loaded from, with the name and commit that were found.
    """

    model: Any
    tokenizer: Any
    blocks: list[nn.Module]
    device: torch.device
    dtype: torch.dtype
    eos_ids: frozenset[int]
    pad_id: int
    context: int | None
    lease: Lease | None = None
    source: ModelConfig | None = None


def context_of(config: Any) -> int | None:
    """The longest text that a HuggingFace config has positions for; None where it states none."""
    found = (getattr(config.get_text_config(), name, None) for name in _CONTEXTS)
    return next((length for length in found if length is not None), None)


def resolve_device(wanted: Device, gpus: int) -> torch.device:
    """The device a run uses.

    Args:
        wanted: From the config.
        gpus: GPUs that the workflow granted; 0 (``--resources gpu=0``) means the CPU.

    Raises:
        UserError: The config names a device that is not there, or SLURM has handed out a GPU that
            cannot be seen: the CPU would be a silent way out, a hundred times as slow.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        if gpus == 0:
            return torch.device("cpu")
        if (handed := gpu_of_slurm()) is not None and not available["cuda"]:
            raise UserError(
                f"SLURM has handed a GPU to this job ({handed}), but torch finds none",
                "Look on that node, in a job like this one: nvidia-smi, and "
                'python -c "import torch; print(torch.version.cuda, torch.cuda.is_available())"; '
                "None is a build of torch for the CPU, False a driver or a node that is broken "
                "(sbatch --exclude). To run on the CPU in spite of it set model.device: cpu.",
            )
        return torch.device(next((name for name, there in available.items() if there), "cpu"))
    if wanted != "cpu" and not available[wanted]:
        raise UserError(
            f"model.device is {wanted!r}, but torch finds no such device here",
            "Set model.device: auto, or install a torch build for that device.",
        )
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """What computes: the GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def resolve_dtype(wanted: Dtype, device: torch.device) -> torch.dtype:
    """The dtype of weights and activations.

    ``auto`` is bfloat16 where products in it are faster than in float32 (CUDA, some CPUs), and
    float32 elsewhere.
    """
    if wanted != "auto":
        return getattr(torch, wanted)
    fast = device.type == "cuda" or (device.type == "cpu" and _cpu_is_fast_in_bfloat16())
    return torch.bfloat16 if fast else torch.float32


def _cpu_is_fast_in_bfloat16() -> bool:
    """Whether this CPU has AMX, or AVX512-BF16 by AMD.

    Measured (benchmarks/README.md): with AVX512-BF16, slots in bfloat16 decode 1.4 times as fast as
    in float32 on an AMD EPYC, and 0.8 times as fast on an Intel Xeon whose AMX is switched off.
    """

    def has(feature: str) -> bool:
        # torch keeps these out of its public interface; without them float32 is always right.
        return getattr(torch.cpu, f"_is_{feature}_supported", lambda: False)()

    return has("amx_tile") or (has("avx512_bf16") and "AMD" in processor())


def load_config_of(model: ModelConfig) -> Any:
    """The model's HuggingFace config, without its weights.

    Raises:
        UserError: It cannot be read.
    """
    with explained(model.name):
        try:
            return AutoConfig.from_pretrained(model.name, **_arguments(model))
        except (OSError, ValueError):
            refuse_hub_adapter(model.name, model.revision)
            raise


def load_tokenizer(model: ModelConfig) -> Any:
    """The model's tokenizer.

    Raises:
        UserError: It cannot be read.
    """
    with told(TOKENIZER, f"The tokenizer of the model {model.name!r}", "cannot be loaded"):
        return AutoTokenizer.from_pretrained(model.name, **_arguments(model))


def load_causal_lm(
    model: ModelConfig,
    gpus: int = 1,
    threads: int | None = None,
    lease: Lease | None = None,
    weights: bool = True,
) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        model: The model section, with the name resolved to a hub id or folder.
        gpus: GPUs that the workflow granted.
        threads: CPU threads for torch, capped at the cores there are; None leaves torch's choice.
        lease: The GPUs to use where there are several; kept as long as the model.
        weights: Whether to read them. Without, the model is an outline: shapes that hold nothing.

    Raises:
        UserError: The model cannot be read, is incomplete, or holds or computes numbers that are
            not finite.
    """
    transformers.utils.logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(max(1, min(threads, cores())))
    device = resolve_device(model.device, gpus)
    if lease is not None:
        device = torch.device(device.type, lease.indices[0])
        torch.cuda.set_device(device)  # graphs and streams go to the current device
    dtype = resolve_dtype(model.dtype, device)
    config = load_config_of(model)
    tokenizer = load_tokenizer(model)
    if weights:
        network, device = _with_weights(model, config, device, dtype, lease)
    else:
        network = _outline(model, config, dtype)
    eos_ids = _eos_ids(network, tokenizer)
    pad_id = _pad_id(network, tokenizer)
    # The model's own defaults (temperature, repetition penalty …) must not leak into a run.
    network.generation_config = GenerationConfig(pad_token_id=pad_id)
    logger.info("loaded %s on %s in %s", model.name, device, dtype)
    return LoadedModel(
        model=network,
        tokenizer=tokenizer,
        blocks=decoder_blocks(network),
        device=device,
        lease=lease,
        dtype=dtype,
        eos_ids=eos_ids,
        pad_id=pad_id,
        context=context_of(network.config),
        source=model,
    )


def _with_weights(
    model: ModelConfig, config: Any, device: torch.device, dtype: torch.dtype, lease: Lease | None
) -> tuple[Any, torch.device]:
    """The network on its device, and where its input goes."""
    arguments = _arguments(model)
    if getattr(config.get_text_config(), "attn_logit_softcapping", None):
        # Not every kernel caps the scores (transformers 5.10's SDPA leaves it out silently).
        arguments["attn_implementation"] = "eager"
    arguments |= quantization_arguments(model, device, dtype)
    if model.device_map == "auto":
        arguments["device_map"] = "auto"
        if lease is not None and model.gpus is not None:  # and not on those of other jobs
            free = {index: torch.cuda.mem_get_info(index)[0] for index in lease.indices}
            arguments["max_memory"] = {**free, "cpu": psutil.virtual_memory().available}
    with explained(model.name):
        network, report = AutoModelForCausalLM.from_pretrained(
            model.name, dtype=dtype, output_loading_info=True, **arguments
        )
    refuse_adapter_in(network, model.name)
    check_complete(report, model.name)
    network.eval()
    if "device_map" not in arguments:
        network.to(device)
    elif network.device.type != "meta":  # offloaded weights come to the device asked for
        device = network.device
    check_finite(network, model.name)
    check_outputs(network, device, model.name)
    return network, device


def _outline(model: ModelConfig, config: Any, dtype: torch.dtype) -> Any:
    """The network on the meta device, with the generation config that its files have."""
    arguments = _arguments(model)
    with explained(model.name), torch.device("meta"):
        trusted = model.trust_remote_code
        network = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trusted)
    with suppress(OSError):  # not every model has one; then it follows from the config
        network.generation_config = GenerationConfig.from_pretrained(
            model.name, revision=arguments.get("revision")
        )
    return network.eval()


def check_complete(report: Mapping[str, Any], name: str) -> None:
    """Refuse a model that lacks weights; log those that have no place.

    Args:
        report: What transformers says of the loading.
        name: Of the model.

    Raises:
        UserError: Some would be random.
    """
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise UserError(
            f"The model {name!r} lacks weights ({missing} …), which would be random",
            "Download it again, or check that the folder holds the whole model.",
        )
    if report["unexpected_keys"]:
        unused = ", ".join(sorted(report["unexpected_keys"])[:3])
        logger.warning("%s holds weights that its config has no place for (%s …)", name, unused)


def describe_model(model: ModelConfig) -> dict[str, Any]:
    """What is known of a model before its weights are read: depth, width, commit.

    Raises:
        UserError: The config cannot be read, is of no causal language model, or contradicts
            ``model.num_layers``.
    """
    config = load_config_of(model)
    # What comes with code of its own names its class there.
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not hasattr(config, "auto_map"):
        raise UserError(
            f"The model {model.name!r} cannot be loaded: it is no causal language model, but "
            f"{config.model_type!r}",
            "Name a model that continues texts (decoder only), such as Llama, Qwen or GPT-2.",
        )
    depth = num_layers(config)
    if model.num_layers is not None and model.num_layers != depth:
        raise UserError(
            f"model.num_layers is {model.num_layers}, but {model.name!r} has {depth} layers",
            f"Set model.num_layers: {depth}, or leave it out.",
        )
    return {
        "name": model.name,
        "revision": model.revision,
        "commit": getattr(config, "_commit_hash", None),
        "model_type": config.model_type,
        "num_layers": depth,
        "hidden_size": config.get_text_config().hidden_size,
        "context": context_of(config),
    }


def download_model(model: ModelConfig, commit: str | None) -> None:
    """Fetch a hub model into HuggingFace's cache, so that the jobs that run it need no network.

    Args:
        model: The model section; a local folder needs nothing.
        commit: The commit to fetch.

    Raises:
        UserError: It cannot be fetched, and is not in the cache.
    """
    if Path(model.name).is_dir():
        return
    fetch = partial(snapshot_download, model.name, revision=commit)
    with explained(model.name):
        others = [f"*{ending}" for ending in _OTHER_WEIGHTS]
        folder = Path(fetch(ignore_patterns=[*others, "*.gguf", "original/*"]))
        if model.gguf_file is not None:
            fetch(allow_patterns=[model.gguf_file])
        elif not list(folder.glob("*.safetensors")):
            fetch(allow_patterns=["*.bin"])


def _arguments(model: ModelConfig) -> dict[str, Any]:
    """Arguments that config, tokenizer and weights are loaded with alike."""
    check_folder(model)
    arguments: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    if not Path(model.name).is_dir() and model.revision is not None:
        arguments["revision"] = model.revision
    if model.gguf_file is not None:
        arguments["gguf_file"] = model.gguf_file
    return arguments


def explained(name: str) -> AbstractContextManager[None]:
    """Turn a library's failure to read a model into a `UserError`.

    Args:
        name: Of the model.
    """
    return told(MODEL, f"The model {name!r}", "cannot be loaded")


def _eos_ids(network: Any, tokenizer: Any) -> frozenset[int]:
    """End tokens named by the tokenizer or by the model's generation config.

    Where a model comes without a generation config, HuggingFace makes one from its config.
    """
    found: set[int] = set()
    for source in (network.generation_config.eos_token_id, tokenizer.eos_token_id):
        found |= set(source) if isinstance(source, list) else {source} - {None}
    return frozenset(found)


def _pad_id(network: Any, tokenizer: Any) -> int:
    """The tokenizer's padding id, or 0 where it has none or the model has no embedding for it."""
    pad = tokenizer.pad_token_id
    return pad if pad is not None and pad < network.get_input_embeddings().weight.shape[0] else 0


def vocabulary_size(loaded: LoadedModel) -> int:
    """The number of tokens that the model has an embedding for."""
    return int(loaded.model.get_input_embeddings().weight.shape[0])


def check_ids(loaded: LoadedModel, texts: Iterable[Sequence[int]]) -> None:
    """Refuse texts with tokens that the model has no embedding for.

    Raises:
        UserError: The tokenizer belongs to another model, or has tokens of its own.
    """
    rows = vocabulary_size(loaded)
    unknown = max((max(ids, default=0) for ids in texts), default=0)
    if unknown >= rows:
        raise UserError(
            f"A text holds token {unknown} ({loaded.tokenizer.convert_ids_to_tokens(unknown)!r}), "
            f"but the model has embeddings for {rows} tokens only",
            "The tokenizer belongs to another model, or was extended: put the model's own "
            "tokenizer files beside the weights.",
        )
