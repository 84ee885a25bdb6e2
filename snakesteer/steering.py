"""What steering is: a vector added to one block's output at some positions of one row.

Positions are named by what they predict. With a prompt of P tokens, position P−1 (the last prompt
token) yields the first generated token; position P−1+i, which holds generated token i−1, yields
generated token i. ``i`` is called the step: step 0 is the last prompt token, in the prefill; every
decode pass is one further step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from snakesteer.config import Scope

FOREVER = 2**62  # a step that no text reaches


@dataclass(frozen=True)
class Dac:
    """Dynamic strength in the residual form of DAC.

    After Scalena, Sarti and Nissim 2024, "Multi-property Steering of Large Language Models with
    Dynamic Activation Composition" (arXiv 2406.17563). The paper steers attention heads with
    time-indexed vectors; this form keeps its dynamic strength and applies it to one constant vector
    in the residual stream.

    Attributes:
        entropy_threshold: Steer only where the unsteered next-token entropy (nats) exceeds this.
        ptop: Top-p mass that chooses the tokens on which the KL is computed.
        max_alpha: Cap on the KL.
        probe_alpha: α₀, the factor on the vector in the probe stream.
    """

    entropy_threshold: float
    ptop: float
    max_alpha: float
    probe_alpha: float


@dataclass(frozen=True, eq=False)
class Steering:
    """How one row is steered.

    Attributes:
        layer: 0-based block whose output is changed.
        vector: ``[hidden]`` float32, the raw direction.
        alpha: Strength α, the factor on `vector`.
        scope: Which positions are steered (ignored with `dac`, whose scope is its own).
        first_k: Number of steered positions for scope ``first_k``.
        dac: Dynamic strength; the added vector is then ``alpha · α_t · vector`` at every step t.
    """

    layer: int
    vector: Tensor
    alpha: float
    scope: Scope = "from_last_prompt_token"
    first_k: int | None = None
    dac: Dac | None = None

    def delta(self) -> Tensor:
        """``alpha · vector``, ``[hidden]`` float32."""
        return self.alpha * self.vector.float()

    @property
    def steered_steps(self) -> tuple[int, int]:
        """First steered step (0 is the last prompt token), and the first behind the last one."""
        if self.dac is not None:
            return 0, FOREVER
        match self.scope:
            case "all" | "from_last_prompt_token":
                return 0, FOREVER
            case "generated_only":
                return 1, FOREVER
            case "last_prompt_token":
                return 0, 1
            case "first_k":
                assert self.first_k is not None
                return 0, self.first_k

    def steers_step(self, step: int) -> bool:
        """Whether the position of this step is steered."""
        first, end = self.steered_steps
        return first <= step < end

    @property
    def steers_prompt(self) -> bool:
        """Whether prompt positions before the last one are steered."""
        return self.scope == "all"


def top_p_set(logits: Tensor, mass: Tensor) -> Tensor:
    """The smallest set of likeliest tokens whose probability reaches a mass.

    The token that crosses the mass is kept, so that the set is never empty (as in the DAC authors'
    repository, DanielSc4/Dynamic-Activation-Composition).

    Args:
        logits: ``[batch, vocab]``.
        mass: ``[batch]`` in (0, 1].

    Returns:
        ``[batch, vocab]`` bool.
    """
    ordered, ids = logits.float().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = before < mass[:, None]
    return torch.zeros_like(kept).scatter(-1, ids, kept)


def dynamic_alpha(
    unsteered: Tensor, probe: Tensor, ptop: Tensor, max_alpha: Tensor, entropy_threshold: Tensor
) -> Tensor:
    """DAC's strength α_t for one step.

    α_t = min(KL(unsteered ‖ probe), max_alpha) with both distributions renormalised on the union of
    their top-p sets, and 0 where the entropy of the whole unsteered distribution does not exceed
    the threshold. The KL is the true one (nats), not divided by the size of the set.

    Args:
        unsteered: ``[batch, vocab]`` next-token logits without steering.
        probe: ``[batch, vocab]`` logits of the stream steered at α₀.
        ptop: ``[batch]`` top-p mass.
        max_alpha: ``[batch]`` cap.
        entropy_threshold: ``[batch]`` nats.

    Returns:
        ``[batch]`` float32, at least 0.
    """
    unsteered, probe = unsteered.float(), probe.float()
    union = top_p_set(unsteered, ptop) | top_p_set(probe, ptop)
    log_p = unsteered.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    log_q = probe.masked_fill(~union, -torch.inf).log_softmax(dim=-1)
    # 0·log 0 is 0: outside the union, and where the model rules a token out (logit −∞).
    terms = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0)
    divergence = terms.sum(dim=-1).clamp(min=0.0)
    entropy = torch.special.entr(unsteered.softmax(dim=-1)).sum(dim=-1)
    alpha = torch.minimum(divergence, max_alpha.float())
    return torch.where(entropy > entropy_threshold, alpha, 0.0)
