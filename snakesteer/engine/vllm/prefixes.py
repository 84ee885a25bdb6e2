"""What vLLM may take from one request's keys and values for another.

vLLM keeps keys and values in blocks, and a request whose text begins like an earlier one's gets the
earlier one's blocks. It knows blocks by hashes of the tokens up to their end, and nothing of
steering. So:

- Blocks in front of a prompt's last token are the plain model's, unless the scope is all positions.
  They are shared by everything that leaves them alone.
- From the last prompt token on, a steered request's keys and values are its own: hashes of these
  blocks are made different from all others.
- Where the scope is all positions, a block is that steering's, and no other's. The hash begins with
  the steering (vLLM's ``cache_salt``).
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from snakesteer.engine.vllm.worker import OWN, Turns


def salt(number: int, parts: Turns) -> str | None:
    """What the hashes of a steered request's blocks begin with; None for the plain model's.

    Args:
        number: Of the steering.
        parts: Of the steering.
    """
    return f"steering {number}" if any(one.prompt for one in parts) else None


def depends_on_prompt(parts: Turns) -> bool:
    """Whether keys and values depend on where a prompt ends.

    Args:
        parts: Of the steering.
    """
    return not all(one.prompt for one in parts)


def own_hashes(
    hashes: Sequence[bytes], first: int, block: int, prompt_tokens: int, name: str
) -> list[bytes]:
    """Hashes of a request's next full blocks, its own from the last prompt token on.

    Args:
        hashes: As vLLM has them.
        first: Number of the first of these blocks.
        block: Tokens of a block.
        prompt_tokens: Of the request's prompt.
        name: Of the request, which no other has.
    """
    plain = max(0, (prompt_tokens - 1) // block - first)  # blocks that end before the last token
    return [
        one if index < plain else hashlib.sha256(name.encode() + one).digest()
        for index, one in enumerate(hashes)
    ]


def private_blocks(engine: Any) -> bool:
    """Let a vLLM engine keep steered requests' blocks apart.

    Args:
        engine: vLLM's ``LLMEngine``, with its core in this process.

    Returns:
        Whether it could be done. Else steered requests share nothing, see `VllmSession`.
    """
    core = engine.engine_core.engine_core
    hasher = getattr(core, "request_block_hasher", None)
    block = getattr(core.scheduler, "hash_block_size", None)
    if hasher is None or block is None:
        return False
    core.request_block_hasher = partial(_hashes, hasher, block)
    return True


def _hashes(hasher: Callable[[Any], list[bytes]], block: int, request: Any) -> list[bytes]:
    first = len(request.block_hashes)
    hashes = hasher(request)
    if not request.sampling_params.extra_args[OWN]:
        return hashes
    return own_hashes(hashes, first, block, request.num_prompt_tokens, request.request_id)
