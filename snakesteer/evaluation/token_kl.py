"""KL(unsteered ‖ steered) per token on given texts, for many steerings of one model.

What the model says without steering is computed once. The model is looked at through a view of its
own (`snakesteer.models.views`), so that an engine may be at work on it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snakesteer.data.neutral import read_passages
from snakesteer.data.prompts import Prompter
from snakesteer.engine.reference.forced import GivenText, forced_logits, reaches
from snakesteer.engine.reference.known_prompts import Known
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel
from snakesteer.models.views import second_view
from snakesteer.steering.kinds import Steering

# Of each neutral text: what counts as its prompt, and what is read at all. Forty texts of this
# length take a small model some seconds on two cores.
START_TOKENS, TEXT_TOKENS = 8, 32
# In one padded batch: an engine at work leaves little room on a GPU.
BATCH_TOKENS = 256


def divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) of distributions, in nats, ``[rows]`` float64.

    Args:
        log_p: ``[rows, vocab]`` log-probabilities.
        log_q: The same of the other side.
    """
    # 0·log 0 is 0, where a model rules a token out (logit −∞).
    terms = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0)
    return terms.sum(dim=-1, dtype=torch.float64).clamp(min=0.0)


class TokenKl:
    """KL of steerings on texts.

    Args:
        loaded: The model, with no engine at work yet.
        texts: What it reads. Steering acts where it would if their generated part were generated.
        budget: Tokens in one padded batch.
    """

    def __init__(
        self, loaded: LoadedModel, texts: Sequence[GivenText], budget: int = BATCH_TOKENS
    ) -> None:
        self._loaded = second_view(loaded)
        self._texts = texts
        self._budget = budget
        self._known: Known = {}

    def by_text(self, steering: Steering) -> list[NDArray[np.float64]]:
        """KL of every generated token in nats, ``[generated]`` of each text.

        Not finite where steering breaks the model's numbers.
        """
        found = {}
        texts = forced_logits(self._loaded, self._texts, steering, self._budget, self._known)
        for index, forced in texts:
            log_p, log_q = (x.log_softmax(dim=-1) for x in (forced.unsteered, forced.steered))
            found[index] = divergences(log_p, log_q).cpu().numpy()
        return [found[index] for index in range(len(self._texts))]

    def mean(self, steering: Steering) -> float:
        """Mean over the texts of their means, in nats per token."""
        return float(np.mean([tokens.mean() for tokens in self.by_text(steering)]))

    def quantile(self, steering: Steering, share: float) -> float:
        """What so large a share of all tokens does not exceed, in nats."""
        return float(np.quantile(np.concatenate(self.by_text(steering)), share))


def neutral_texts(
    prompter: Prompter, passages: Sequence[str], context: int | None
) -> list[GivenText]:
    """Passages as the model reads them: a short start as the prompt, the rest as generated.

    Args:
        prompter: Of the run; its few-shot examples are no part of these texts.
        passages: Texts.
        context: Of the model.
    """
    limit = min(TEXT_TOKENS, context or TEXT_TOKENS)
    encoded = (prompter.encode_start(passage)[:limit] for passage in passages)
    return [GivenText(ids, min(START_TOKENS, len(ids) - 1)) for ids in encoded]


def neutral_kl(
    loaded: LoadedModel, prompter: Prompter, files: Sequence[str | Path]
) -> Callable[[Steering], float] | None:
    """Mean KL of a steering on neutral passages; None without any.

    It raises a UserError where a scope by tokens or window acts nowhere in them: their KL says
    nothing then of what steering costs.

    Args:
        loaded: The model, with no engine at work yet.
        prompter: Of the run.
        files: Of passages.
    """
    passages = [passage for path in files for passage in read_passages(path)]
    if not passages:
        return None
    texts = neutral_texts(prompter, passages, loaded.context)
    measured = TokenKl(loaded, texts)

    def cost(steering: Steering) -> float:
        if not reaches(loaded, texts, steering):
            raise UserError(
                f"search.objectives weighs KL, but the scope steers none of the {len(texts)} "
                f"neutral passages, of which {TEXT_TOKENS - START_TOKENS} tokens each count as "
                "generated: every trial would cost nothing there",
                "Leave kl out of search.objectives, or take another steering.scope.",
            )
        return measured.mean(steering)

    return cost
