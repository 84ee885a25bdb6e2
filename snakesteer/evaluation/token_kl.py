"""KL(unsteered ‖ steered) per token on given texts, for many steerings of one model.

What the model says without steering is computed once. The model is looked at through a view of its
own (`snakesteer.models.views`), so that an engine may be at work on it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snakesteer.data.neutral import read_passages
from snakesteer.data.prompts import Prompter
from snakesteer.engine.reference.forced import GivenText, forced_logits
from snakesteer.evaluation.off_target import divergences, neutral_texts
from snakesteer.models.loading import LoadedModel
from snakesteer.models.views import second_view
from snakesteer.steering.kinds import Steering

# In one padded batch: an engine at work leaves little room on a GPU.
BATCH_TOKENS = 256


class TokenKl:
    """KL of steerings on texts.

    Args:
        loaded: The model, with no engine at work yet.
        texts: What it reads. Steering acts where it would if their generated part were generated.
    """

    def __init__(self, loaded: LoadedModel, texts: Sequence[GivenText]) -> None:
        self._loaded = second_view(loaded)
        self._texts = texts
        self._unsteered: dict[int, Tensor] = {}

    def by_text(self, steering: Steering) -> list[NDArray[np.float64]]:
        """KL of every generated token in nats, ``[generated]`` of each text.

        Not finite where steering breaks the model's numbers.
        """
        found = {}
        texts = forced_logits(self._loaded, self._texts, steering, BATCH_TOKENS, self._unsteered)
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


def neutral_kl(
    loaded: LoadedModel, prompter: Prompter, files: Sequence[str | Path]
) -> Callable[[Steering], float] | None:
    """Mean KL of a steering on neutral passages; None without any.

    Args:
        loaded: The model, with no engine at work yet.
        prompter: Of the run.
        files: Of passages.
    """
    passages = [passage for path in files for passage in read_passages(path)]
    if not passages:
        return None
    return TokenKl(loaded, neutral_texts(prompter, passages, loaded.context)).mean
