"""Gates: a row is steered only where the score of a block's output is beyond a threshold.

Conditional activation steering: Lee et al. 2024, "Programming Refusal with Conditional Activation
Steering" (CAST, arXiv 2409.05907). There a condition vector c and the prompt decide for the whole
answer, by the cosine of h with tanh of its projection on c, which is next to |cos(h, c)|. Here the
cosine keeps its sign, so that the two sides of c are not the same; the score may be the projection
itself, which for a probe's direction is the probe's score but for its scale and bias (a quantile
as the threshold does not see these); and every token may decide for itself.

What is scored is the output of a block before it is steered. No layer before the gate's may be
steered, so that the scores of a text do not depend on whether it is steered, and can be known
before any of its later tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from snakesteer.config import Score, Side, When


@dataclass(frozen=True, eq=False)
class Gate:
    """When a row is steered.

    Attributes:
        layer: 0-based block whose output is scored; none that is steered lies before it.
        vector: ``[hidden]`` float32; its length does not matter.
        score: ``cosine`` of the output with the vector, or its ``projection`` on it.
        threshold: Of the score.
        side: Where the gate is open: strictly above the threshold, or strictly below it.
        when: Whether every position has a score of its own, or the last prompt token's decides for
            the whole answer.
    """

    layer: int
    vector: Tensor
    score: Score
    threshold: float
    side: Side
    when: When

    @property
    def unit(self) -> Tensor:
        """``[hidden]`` float32, the vector at length 1."""
        wide = self.vector.double()
        return (wide / wide.norm()).float()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for gates that are alike."""
        numbers = self.vector.float().cpu().numpy().tobytes()
        return self.layer, numbers, self.score, self.threshold, self.side, self.when

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of outputs of its block, ``[..., hidden]`` → ``[...]`` float32."""
        cosine = torch.tensor(self.score == "cosine", device=hidden.device)
        return gate_scores(hidden, self.unit.to(hidden.device), cosine)

    def opens(self, hidden: Tensor) -> Tensor:
        """Whether it is open there, ``[..., hidden]`` → ``[...]`` bool; never at what is NaN."""
        scores = self.scores(hidden)
        return scores > self.threshold if self.side == "above" else scores < self.threshold


def gate_scores(hidden: Tensor, unit: Tensor, cosine: Tensor) -> Tensor:
    """Projections on directions, or cosines with them, in float32.

    Args:
        hidden: ``[..., hidden]``.
        unit: ``[..., hidden]`` float32 of length 1, broadcasts against `hidden`.
        cosine: ``[...]`` bool, broadcasts against the scores.

    Returns:
        ``[...]`` float32; 0 where `hidden` has no length.
    """
    h = hidden.float()
    projection = (h * unit).sum(dim=-1)
    length = torch.linalg.vector_norm(h, dim=-1)
    return projection / torch.where(cosine & (length > 0.0), length, 1.0)
