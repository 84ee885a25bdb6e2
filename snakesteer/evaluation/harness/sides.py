"""Likelihoods and answers with and without a steering, both at once.

The harness asks for one side after the other, and for the same things. Whichever asks first, both
are computed: one unsteered pass does for both, and answers come from one setting of the engine.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor
from tqdm import tqdm

from snakesteer.engine.interface import Decoding, Engine, Generation, Request
from snakesteer.engine.open import settled
from snakesteer.engine.reference.forced import FORCED_TOKENS, GivenText, forced_logits
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.kinds import Steering

SIDE_NAMES = ("baseline", "steered")
# Tokens in one padded batch on a GPU, where rows of a few-shot prompt are to share it.
GPU_TOKENS = 8192


@dataclass(frozen=True)
class Likelihood:
    """Of the generated part of a text.

    Attributes:
        log: Its log-probability, in nats.
        greedy: Whether each of its tokens is the likeliest.
    """

    log: float
    greedy: bool


@dataclass(frozen=True)
class Asked:
    """A text to generate, and the seed of its random stream; 0 where nothing is drawn."""

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    seed: int


class Sides:
    """What a model says without and with a steering.

    Attributes:
        loaded: The model.
        not_finite: Texts on which steering made numbers that are none; they count as impossible.

    Args:
        loaded: The model.
        steering: The steering.
        engine: Makes the engine for a way of decoding.
    """

    def __init__(
        self, loaded: LoadedModel, steering: Steering, engine: Callable[[Decoding], Engine]
    ) -> None:
        self.loaded = loaded
        self.not_finite = 0
        self._steering = steering
        self._engine = engine
        self._likelihoods: dict[GivenText, tuple[Likelihood, Likelihood]] = {}
        self._answers: dict[tuple[Decoding, Asked], tuple[str, str]] = {}

    def likelihoods(self, texts: Sequence[GivenText], side: int) -> list[Likelihood]:
        """Of the generated part of texts, in their order.

        Args:
            texts: The texts; each fits into the model's context.
            side: 0 without, 1 with steering.

        Raises:
            UserError: See `forced_logits`.
        """
        # The last token of a text is not read: those that differ in nothing else are read once.
        alike: dict[GivenText, list[GivenText]] = defaultdict(list)
        for text in dict.fromkeys(texts):
            if text not in self._likelihoods:
                read = GivenText((*text.token_ids[:-1], 0), text.prompt_tokens)
                alike[read].append(text)
        budget = FORCED_TOKENS if self.loaded.device.type == "cpu" else GPU_TOKENS
        found = forced_logits(self.loaded, [*alike], self._steering, budget)
        groups = [*alike.values()]
        for index, forced in tqdm(found, "texts", len(groups), disable=not groups):
            logs = [logits.log_softmax(dim=-1) for logits in (forced.unsteered, forced.steered)]
            for text in groups[index]:
                before, after = (_likelihood(log, text) for log in logs)
                self._likelihoods[text] = (before, after)
                self.not_finite += not math.isfinite(after.log)
        return [self._likelihoods[text][side] for text in texts]

    def answers(self, asked: Sequence[Asked], decoding: Decoding, side: int) -> list[str]:
        """Generated texts, in the order of what is asked.

        Args:
            asked: What to generate.
            decoding: How.
            side: 0 without, 1 with steering.
        """
        new = [one for one in dict.fromkeys(asked) if (decoding, one) not in self._answers]
        if new:
            engine = self._engine(decoding)
            requests = [
                Request(one.prompt_ids, one.max_new_tokens, steering, one.seed)
                for steering in (None, self._steering)
                for one in new
            ]
            rows = settled(engine, lambda: engine.generate(requests))
            texts = [self._text(row, decoding) for row in rows]
            for one, before, after in zip(new, texts, texts[len(new) :], strict=False):
                self._answers[decoding, one] = (before, after)
        return [self._answers[decoding, one][side] for one in asked]

    def _text(self, row: Generation, decoding: Decoding) -> str:
        """As the harness reads an answer: without special tokens."""
        text: str = self.loaded.tokenizer.decode(row.token_ids, skip_special_tokens=True)
        for stop in decoding.stop:
            text = text.partition(stop)[0]
        return text


def _likelihood(log: Tensor, text: GivenText) -> Likelihood:
    """From log-probabilities ``[generated, vocab]`` in float32."""
    own = log.new_tensor(text.generated).long()
    told = float(log.gather(-1, own[:, None]).double().sum())  # of [generated, 1]
    if math.isnan(told):
        return Likelihood(-math.inf, False)
    return Likelihood(told, bool((log.argmax(dim=-1) == own).all()))
