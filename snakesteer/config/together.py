"""Several vectors at once: what each of them is and does."""

from pydantic import Field

from snakesteer.config.scopes import Operator, Scope, TokenRule
from snakesteer.config.section import Section


class TogetherPart(Section):
    """One of several vectors that change the residual stream of a text together."""

    direction: str = Field(min_length=1, description="One of `steering.directions`.")
    layer: int = Field(ge=0, description="One of `steering.layers`.")
    weight: float = Field(
        1.0, description="Strength in units of the first part's, whose own weight is 1."
    )
    operator: Operator = Field("add", description="As in `steering.operators`.")
    scope: Scope = Field("from_last_prompt_token", description="As `steering.scope`.")
    first_k: int | None = Field(None, ge=1, description="As `steering.first_k`.")
    generated_window: tuple[int, int] | None = Field(
        None, description="As `steering.generated_window`."
    )
    at_tokens: TokenRule | None = Field(None, description="As `steering.at_tokens`.")
