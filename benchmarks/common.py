"""What the benchmarks share: models, prompts and the limits of the hardware."""

import argparse
import platform
import resource
import time
from pathlib import Path

import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from snakesteer.config import ModelConfig
from snakesteer.engine.interface import Request
from snakesteer.engine.slots.cache import KvShape
from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.loading import LoadedModel, load_causal_lm, resolve_dtype
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering

# Shapes of well-known models, filled with random numbers: speed does not depend on the weights.
SHAPES = {
    "rho-1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
    },
    "qwen2.5-1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
    "smollm-135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 2048,
    },
}


class NoTokenizer:
    """Stands in for a tokenizer where token ids are all that is looked at."""

    def decode(self, token_ids: list[int], **_options: bool) -> str:
        """The ids as text."""
        return " ".join(map(str, token_ids))


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what runs where."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--shape", choices=sorted(SHAPES), help="random weights in this shape")
    what.add_argument("--model", type=Path, help="folder with a saved model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")


def load(options: argparse.Namespace) -> LoadedModel:
    """The model that the options name; texts never end early."""
    device = torch.device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.shape:
        torch.manual_seed(0)
        with device:
            model = LlamaForCausalLM(LlamaConfig(**SHAPES[options.shape])).to(dtype).eval()
        model.generation_config = GenerationConfig(pad_token_id=0)
        tokenizer, config = NoTokenizer(), None
    else:
        config = ModelConfig(name=str(options.model), device=options.device, dtype=options.dtype)
        loaded = load_causal_lm(config, threads=options.threads)
        model, tokenizer = loaded.model, loaded.tokenizer
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        blocks=decoder_blocks(model),
        device=device,
        dtype=dtype,
        eos_ids=frozenset(),
        pad_id=0,
        context=model.config.max_position_embeddings,
        source=config,
    )


def make_prompts(loaded: LoadedModel, count: int, shared: int, own: int) -> list[tuple[int, ...]]:
    """Random prompts: the same ``shared`` tokens, then ``own`` tokens, a quarter up or down."""
    generator = torch.Generator().manual_seed(0)

    def ids(length: int) -> tuple[int, ...]:
        vocabulary = loaded.model.config.vocab_size
        return tuple(torch.randint(3, vocabulary, (length,), generator=generator).tolist())

    prefix = ids(shared)
    lengths = torch.randint(own * 3 // 4, own * 5 // 4 + 1, (count,), generator=generator)
    return [prefix + ids(max(1, length)) for length in lengths.tolist()]


def make_requests(
    loaded: LoadedModel,
    prompts: list[tuple[int, ...]],
    alphas: list[float],
    new_tokens: int,
    layer: int | None = None,
    dac: Dac | None = None,
) -> list[Request]:
    """Every prompt at every strength, strength by strength.

    Args:
        loaded: The model.
        prompts: Token ids.
        alphas: Strengths.
        new_tokens: Of every answer.
        layer: Steered block; None takes the middle one.
        dac: Makes the strength dynamic.
    """
    hidden = loaded.model.config.hidden_size
    vector = torch.randn(hidden, generator=torch.Generator().manual_seed(1)) / hidden**0.5
    layer = len(loaded.blocks) // 2 if layer is None else layer
    return [
        Request(prompt, new_tokens, ResidualSteering(layer, vector, alpha, dac=dac))
        for alpha in alphas
        for prompt in prompts
    ]


def synchronize(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def best_seconds(run: object, device: torch.device, times: int = 5) -> float:
    """The shortest of several runs of a function."""
    assert callable(run)
    found = []
    for _ in range(times + 1):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        found.append(time.perf_counter() - started)
    return min(found[1:])


def measure_bandwidth(device: torch.device) -> float:
    """Bytes per second that a copy reads and writes."""
    size = 2**30 if device.type == "cuda" else 2**28
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / best_seconds(lambda: target.copy_(source), device)


def measure_matmul(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 1536
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / best_seconds(lambda: left @ right, device)


def floor_seconds(
    loaded: LoadedModel, shape: KvShape, slots: int, shared: int, own: int
) -> tuple[float, str]:
    """The time below which no decode step can be, and what sets it.

    Every step reads all weights and all keys and values (the shared ones once), and multiplies
    every row with every weight.

    Args:
        loaded: The model.
        shape: Of its keys and values.
        slots: Rows of a step.
        shared: Positions that all rows share.
        own: Positions of a row's own, on average.
    """
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    parameters = sum(p.numel() for p in loaded.model.parameters())
    if not loaded.model.config.tie_word_embeddings:
        embedding = loaded.model.get_input_embeddings().weight  # looked up, not multiplied
        weights -= embedding.numel() * embedding.element_size()
        parameters -= embedding.numel()
    keys = shape.bytes_per_token * (shared + slots * own)
    bandwidth = measure_bandwidth(loaded.device)
    rate = measure_matmul(loaded.device, loaded.dtype)
    reading = (weights + keys) / bandwidth
    computing = 2 * parameters * slots / rate
    print(f"copy bandwidth {bandwidth / 1e9:,.0f} GB/s, matmul {rate / 1e12:,.2f} TFLOP/s")
    return max((reading, "memory"), (computing, "arithmetic"))


def peak_memory(device: torch.device) -> float:
    """GB: of the GPU's allocator, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def describe(loaded: LoadedModel) -> str:
    """Hardware and versions, for the record."""
    if loaded.device.type == "cuda":
        hardware = torch.cuda.get_device_name()
    else:
        hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    parameters = sum(p.numel() for p in loaded.model.parameters())
    return (
        f"{hardware}; torch {torch.__version__}, transformers {transformers.__version__}; "
        f"{parameters / 1e6:,.0f}M parameters in {loaded.dtype}"
    )
