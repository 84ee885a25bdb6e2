"""Whether answers are the same: bit for bit, or as nearly as an engine promises it."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snakesteer.engine.interface import Generation
from snakesteer.models.precision import logits_error


@dataclass(frozen=True)
class AnswerDifference:
    """Where two answers part.

    Attributes:
        step: First step whose logits differ; 0 is the last prompt token.
        size: Largest difference of a logit.
        tokens_equal: Whether the generated tokens are the same nevertheless.
        error: Largest relative error of logits (see `precision.logits_error`) up to the first
            token that differs, as further ones have read another text.
    """

    step: int
    size: float
    tokens_equal: bool
    error: float


def answer_difference(
    wanted: Generation,
    wanted_logits: Sequence[Tensor],
    found: Generation,
    found_logits: Sequence[Tensor],
) -> AnswerDifference | None:
    """Where an answer parts from the one that it must equal; None if it does not.

    Args:
        wanted: The answer.
        wanted_logits: ``[vocab]`` of every step, and perhaps of more.
        found: The other one.
        found_logits: Likewise.
    """
    tokens_equal = wanted == found
    steps = min(wanted.num_tokens, found.num_tokens)
    pairs = [*itertools.islice(zip(wanted_logits, found_logits, strict=False), steps)]
    different = [
        (step, float((a.float() - b.float()).abs().nan_to_num(torch.inf).max()))
        for step, (a, b) in enumerate(pairs)
        if not torch.equal(a, b)
    ]
    if tokens_equal and not different:
        return None
    tokens = zip(wanted.token_ids, found.token_ids, strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], tokens))
    same_text = pairs[: alike + 1]
    return AnswerDifference(
        step=different[0][0] if different else steps,
        size=max((size for _, size in different), default=0.0),
        tokens_equal=tokens_equal,
        error=max((logits_error(b[None], a[None]) for a, b in same_text), default=0.0),
    )


def nearly(
    differences: Collection[AnswerDifference], answers: int, tolerance: float
) -> dict[str, Any]:
    """What is recorded of answers that need not be equal to the last bit.

    Args:
        differences: Of those answers that differ.
        answers: Number of answers.
        tolerance: Relative error of logits that is let pass.
    """
    apart = sum(not one.tokens_equal for one in differences)
    return {
        "tolerance": tolerance,
        "max_logits_error": max((one.error for one in differences), default=0.0),
        "tokens_equal_share": 1.0 - apart / answers,
    }
