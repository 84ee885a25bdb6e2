"""Whether an answer's tokens are those that its logits choose, and whether it ends where it should.

The rules are written down once more, apart from `snakesteer.engine.sampling` and
`snakesteer.engine.stopping`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.evaluation.checks.dynamic_truth import likeliest
from snakesteer.models.loading import LoadedModel

# What float32 sums over a vocabulary may be off.
_SUMS = 1e-4


def wrong_choice(
    loaded: LoadedModel,
    request: Request,
    decoding: Decoding,
    answer: Generation,
    logits: Sequence[Tensor],
) -> str | None:
    """What is wrong with the tokens of an answer, in words; None if nothing is.

    Args:
        loaded: The model.
        request: What was asked.
        decoding: How tokens are chosen.
        answer: What was answered.
        logits: ``[vocab]`` of every step, and perhaps of more.
    """
    tokens = [*answer.token_ids, *(() if answer.end is None else (answer.end,))]
    if len(logits) < len(tokens):
        return f"{len(tokens)} tokens were chosen, and {len(logits)} steps have logits"
    uniform = np.random.Generator(np.random.Philox(key=request.seed)).random(len(tokens))
    for step, (token, number) in enumerate(zip(tokens, uniform, strict=True)):
        if not _may_be(token, logits[step].double().cpu(), decoding, float(number)):
            return f"token {step} is not the one that its logits choose"
    return _wrong_end(loaded, request, decoding, answer)


def _may_be(token: int, logits: Tensor, decoding: Decoding, number: float) -> bool:
    if decoding.temperature == 0.0 or logits.isnan().any():
        return not logits[token] < logits.max()
    if 0 < decoding.top_k < len(logits):
        kept = logits.sort(descending=True, stable=True).indices[: decoding.top_k]
        logits = torch.full_like(logits, -torch.inf).index_copy(0, kept, logits[kept])
    logits = (logits - logits.max()) / decoding.temperature
    if decoding.top_p < 1.0:
        logits = logits.masked_fill(~likeliest(logits, decoding.top_p), -torch.inf)
    probability = logits.softmax(dim=-1)
    end = float(probability[: token + 1].sum())
    start = end - float(probability[token])
    return end > start and start - _SUMS <= number <= end + _SUMS


def _wrong_end(
    loaded: LoadedModel, request: Request, decoding: Decoding, answer: Generation
) -> str | None:
    def text(ids: Sequence[int]) -> str:
        return str(
            loaded.tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    kept, count = answer.token_ids, answer.num_tokens
    if count != len(kept) + (answer.end is not None) or count > request.max_new_tokens:
        return f"it has {count} tokens, of at most {request.max_new_tokens}"
    if loaded.eos_ids & {*kept}:
        return "it goes on behind an end token"
    if any(stop in text(kept[:-1]) for stop in decoding.stop):
        return "it goes on behind a stop string"
    if any(stop in answer.text for stop in decoding.stop):
        return "a stop string is part of its text"
    right = {
        "eos": answer.end in loaded.eos_ids,
        "stop": any(stop in text(kept) for stop in decoding.stop),
        "length": count == request.max_new_tokens,
    }[answer.finish]
    return None if right else f"it ends without a reason ({answer.finish})"
