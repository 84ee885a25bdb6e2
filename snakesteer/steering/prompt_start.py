"""Steering of the start of a prompt: a vector of its own for each of the first positions."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from snakesteer.config.catalogue import Kind
from snakesteer.steering.residual import Sites, VectorChange


@dataclass(frozen=True, eq=False)
class PromptStartSteering:
    """How the start of one row's prompt is steered, as ActAdd does.

    Turner et al. 2023, "Steering Language Models With Activation Engineering" (arXiv 2308.10248).

    Attributes:
        layer: 0-based block whose output is changed.
        vector: ``[positions, hidden]`` float32, added to the first positions of the prompt, one to
            one, and nowhere else.
        alpha: Strength α, the factor on `vector`.
    """

    layer: int
    vector: Tensor
    alpha: float

    kind: ClassVar[Kind] = "prompt_start"
    sites: ClassVar[Sites] = "blocks"
    dac: ClassVar[None] = None  # its strength is constant

    def __post_init__(self) -> None:
        if self.vector.dim() != 2:
            raise ValueError(f"{tuple(self.vector.shape)} is not [positions, hidden]")

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for rows that are steered alike."""
        return self.layer, id(self.vector), self.alpha

    @property
    def off(self) -> "PromptStartSteering":
        """The same at strength 0."""
        return replace(self, alpha=0.0)

    def with_vectors(self, change: VectorChange) -> "PromptStartSteering":
        """The same with other vectors."""
        return replace(self, vector=change(self.vector, self.layer))
