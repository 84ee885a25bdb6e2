"""transformers' continuous batching (``generate_batch``) as a peer of the slots engine."""

import time
from collections.abc import Sequence

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from snakesteer.engine.interface import Request
from snakesteer.models.loading import LoadedModel

PAGE = 256  # tokens of a page of its cache, its own default


def rate(loaded: LoadedModel, requests: Sequence[Request], batch_tokens: int = 1024) -> float:
    """New tokens per second of ``generate_batch``, prompts included.

    It knows no steering of a row of its own. A hook adds the first request's vector to every
    token, so that all rows do the same work as ours, but all are steered alike.

    Args:
        loaded: The model.
        requests: Of one length of answers; only the first one's steering is used.
        batch_tokens: Tokens of a forward call; bounds the memory of a CPU, whose whole free memory
            would be taken for the cache otherwise.
    """
    steering, limit = requests[0].steering, requests[0].max_new_tokens
    added = (steering.alpha * steering.vector).to(loaded.device, loaded.dtype)  # [hidden]

    def add(_module: torch.nn.Module, _inputs: object, output: object) -> object:
        if isinstance(output, tuple):
            return (output[0] + added, *output[1:])
        return output + added

    longest = max(len(one.prompt_ids) for one in requests) + limit
    pages = -(-longest // PAGE) * len(requests) + 1
    on_cpu = loaded.device.type == "cpu"
    hook = loaded.blocks[steering.layer].register_forward_hook(add)
    try:
        started = time.perf_counter()
        outputs = loaded.model.generate_batch(
            [list(one.prompt_ids) for one in requests],
            GenerationConfig(
                max_new_tokens=limit, do_sample=False, eos_token_id=-1, pad_token_id=0
            ),
            ContinuousBatchingConfig(
                page_size=PAGE,
                num_blocks=pages if on_cpu else None,
                max_batch_tokens=batch_tokens if on_cpu else None,
            ),
            warmup=not on_cpu,
        )
        elapsed = time.perf_counter() - started
    finally:
        hook.remove()
    return sum(len(one.generated_tokens) for one in outputs.values()) / elapsed
