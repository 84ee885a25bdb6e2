"""Which positions of a text are steered.

Positions are named by what they predict. With a prompt of P tokens, position P−1 (the last prompt
token) yields the first generated token; position P−1+i, which holds generated token i−1, yields
generated token i. ``i`` is called the step: step 0 is the last prompt token, in the prefill; every
decode pass is one further step. Generated token t, counted from 0, is thus read at step t+1.
"""

from dataclasses import dataclass

from snakesteer.config import Scope, TokenRule
from snakesteer.steering.tokens import TokenSet

FOREVER = 2**62  # a step that no text reaches

# The first step, and the first one behind the last.
Steps = tuple[int, int]


@dataclass(frozen=True)
class Positions:
    """A scope with what belongs to it.

    Attributes:
        scope: Which positions are steered.
        first_k: Number of steered positions for scope ``first_k``.
        window: First generated token, and the first one behind the last, for scopes
            ``generated_window`` (steered) and ``outside_generated_window`` (left alone).
        tokens: For scopes ``at_tokens`` (steered) and ``not_at_tokens`` (left alone).
    """

    scope: Scope = "from_last_prompt_token"
    first_k: int | None = None
    window: tuple[int, int] | None = None
    tokens: TokenRule | None = None

    @property
    def steered_steps(self) -> Steps:
        """First steered step (0 is the last prompt token), and the first behind the last one."""
        match self.scope:
            case "all" | "from_last_prompt_token":
                return 0, FOREVER
            case "generated_only" | "outside_generated_window" | "at_tokens" | "not_at_tokens":
                return 1, FOREVER
            case "last_prompt_token":
                return 0, 1
            case "first_k":
                assert self.first_k is not None
                return 0, self.first_k
            case "generated_window":
                return self._window_steps

    @property
    def spared_steps(self) -> Steps:
        """Steps among these that are not steered: the first, and the first behind the last one."""
        return self._window_steps if self.scope == "outside_generated_window" else (0, 0)

    @property
    def token_set(self) -> TokenSet | None:
        """Tokens that are steered at these steps; None for all."""
        if self.scope not in ("at_tokens", "not_at_tokens"):
            return None
        assert self.tokens is not None
        return TokenSet(self.tokens, others=self.scope == "not_at_tokens")

    def steers_step(self, step: int) -> bool:
        """Whether the position of this step is steered, if it holds a token of `token_set`."""
        first, end = self.steered_steps
        spared, again = self.spared_steps
        return first <= step < end and not spared <= step < again

    @property
    def steers_prompt(self) -> bool:
        """Whether prompt positions before the last one are steered."""
        return self.scope == "all"

    @property
    def _window_steps(self) -> Steps:
        assert self.window is not None
        first, end = self.window
        return first + 1, end + 1


DEFAULT_POSITIONS = Positions()
