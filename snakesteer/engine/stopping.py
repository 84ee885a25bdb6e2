"""When a generation ends, and the text it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from snakesteer.engine.interface import Finish, Generation


@dataclass(frozen=True)
class StopRule:
    """End tokens, stop strings and limits of one engine.

    Attributes:
        tokenizer: Decodes ids to text.
        eos_ids: Ids that end a generation.
        stop: Strings that end a generation.
    """

    tokenizer: Any
    eos_ids: frozenset[int]
    stop: tuple[str, ...]

    def finish(self, token_ids: Sequence[int], limit: int) -> Finish | None:
        """Why a row ends after its latest token, or None if it goes on.

        Args:
            token_ids: All generated ids so far, at least one. Called after every token.
            limit: The request's ``max_new_tokens``.
        """
        if token_ids[-1] in self.eos_ids:
            return "eos"
        if self.stop:
            # A token is at least one byte, so this many tokens hold any stop string that ends here.
            window = max(len(text.encode()) for text in self.stop) + 4
            tail = self._decode(token_ids[-window:])
            if any(text in tail for text in self.stop):
                return "stop"
        return "length" if len(token_ids) >= limit else None

    def generation(
        self, token_ids: Sequence[int], finish: Finish, alphas: Sequence[float] = ()
    ) -> Generation:
        """The finished row as a `Generation`: end token dropped, text cut at the stop string.

        Args:
            token_ids: All generated ids.
            finish: Why it ended.
            alphas: α_t of each of them; none where the strength is not dynamic.
        """
        kept = tuple(token_ids[:-1] if finish == "eos" else token_ids)
        text = self._decode(kept)
        ends = [position for stop in self.stop if (position := text.find(stop)) >= 0]
        return Generation(
            token_ids=kept,
            text=text[: min(ends)] if ends else text,
            finish=finish,
            num_tokens=len(token_ids),
            end=token_ids[-1] if finish == "eos" else None,
            alpha_t=fmean(alphas) if alphas else None,
        )

    def _decode(self, token_ids: Sequence[int]) -> str:
        # Special tokens stay visible: a stop string may be one of them.
        return self.tokenizer.decode(
            list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
