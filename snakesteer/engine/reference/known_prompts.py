"""Prompts that no steering changes, read once for all passes over what stands behind them.

Behind few-shot examples a solution is a twentieth of what is read. Where a steering leaves the
prompt alone, its keys and values are those of the unsteered model, so that a steered pass, and the
unsteered one beside it, begin at the last prompt token.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import DynamicCache

from snakesteer.models.arguments import cache_argument, takes
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import ResidualSteering

# Tokens of a prompt from which on it is read apart: shorter ones cost less than one more pass.
WORTH_KEEPING = 32


@dataclass
class KnownBatch:
    """What is known of texts that are read again, under other steerings.

    Attributes:
        prompts: Keys and values of what is read apart; None without that.
        unsteered: Of each text the logits ``[generated, vocab]`` without steering; empty at first.
    """

    prompts: DynamicCache | None = None
    unsteered: list[Tensor] = field(default_factory=list)


# By the texts of a batch, and how many tokens of each are read apart.
Known = dict[tuple[tuple[int, ...], int], KnownBatch]


def may_be_apart(loaded: LoadedModel, steering: Steering) -> bool:
    """Whether prompts can be read apart from what stands behind them.

    Args:
        loaded: The model.
        steering: Of all texts.
    """
    model = loaded.model
    # Models that keep a state in place of keys cannot go back; of others' code nothing is known.
    plain = type(model).__module__.startswith("transformers.") and not model._is_stateful
    needed = (cache_argument(model), "logits_to_keep")
    able = plain and all(takes(model, argument) for argument in needed)
    return able and leaves_prompts_alone(steering)


def tokens_apart(shortest: int) -> int:
    """How many tokens of each text of a batch are read apart, where that can be; 0 for none.

    Args:
        shortest: Tokens of its shortest prompt, the last of which is read with what follows.
    """
    return shortest - 1 if shortest > WORTH_KEEPING else 0


def leaves_prompts_alone(steering: Steering) -> bool:
    """Whether nothing before the last prompt token is steered."""
    match steering:
        case ResidualSteering():
            return not any(part.steers_prompt for part in steering.parts)
        case HeadSteering():
            return True
        case _:
            return False


def read_prompts(loaded: LoadedModel, ids: Tensor) -> DynamicCache:
    """Keys and values of the starts of texts ``[batch, apart]``; none of them is padding."""
    cache = DynamicCache()
    keys = {cache_argument(loaded.model): cache}
    loaded.model(input_ids=ids, use_cache=True, logits_to_keep=1, **keys)
    return cache


def read_on(loaded: LoadedModel, ids: Tensor, mask: Tensor, cache: DynamicCache) -> Any:
    """``[batch, seq, vocab]`` behind prompts, whose keys and values stay as they are.

    Args:
        loaded: The model.
        ids: ``[batch, seq]``, what stands behind them.
        mask: ``[batch, apart + seq]``, 0 at padding.
        cache: From `read_prompts`.
    """
    keys = {cache_argument(loaded.model): cache}
    logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=True, **keys).logits
    cache.crop(-ids.shape[1])
    return logits
