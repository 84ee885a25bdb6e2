"""Steering of attention heads: vectors indexed by the step, added before the output projection.

Steps are named as in `snakesteer.steering.residual`: step i is the position that yields generated
token i, and step 0 is the last prompt token. No earlier position is steered.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from snakesteer.config import After, Schedule
from snakesteer.config.catalogue import Kind
from snakesteer.steering.dac import Dac
from snakesteer.steering.positions import FOREVER, Steps
from snakesteer.steering.residual import Sites, VectorChange


@dataclass(frozen=True, eq=False)
class HeadSteering:
    """How the attention heads of one row are steered.

    Schedules are those of DAC: Scalena, Sarti and Nissim 2024 (arXiv 2406.17563), repository
    DanielSc4/Dynamic-Activation-Composition. ``fixed`` keeps α; ``start`` steers the last prompt
    token alone; ``diminishing`` gives step i of M the strength α·(1 − i/M), and none afterwards;
    ``dynamic`` gives it α·α_i with the α_i of `snakesteer.steering.dac.dynamic_alpha`.

    Attributes:
        layers: 0-based blocks whose heads are steered.
        delta: ``[steps, layers, heads · head_dim]`` float32, what α multiplies. Vectors that do not
            change in time have one step, and ``after="hold"``.
        alpha: Strength α.
        schedule: How the strength goes on from step to step.
        after: What is added past the last step of `delta`: nothing, its last step, or the mean of
            its steps. (The paper's texts end there.)
        dac: Parameters of ``dynamic``, and of no other schedule.
    """

    layers: tuple[int, ...]
    delta: Tensor
    alpha: float
    schedule: Schedule = "fixed"
    after: After = "hold"
    dac: Dac | None = None

    kind: ClassVar[Kind] = "heads"
    sites: ClassVar[Sites] = "heads"
    spared_steps: ClassVar[Steps] = (0, 0)  # none of the steered ones is left out
    token_set: ClassVar[None] = None  # whatever they hold

    def __post_init__(self) -> None:
        if (self.schedule == "dynamic") != (self.dac is not None):
            raise ValueError("Dac parameters go with the schedule 'dynamic', and only with it")
        if self.delta.dim() != 3 or self.delta.shape[1] != len(self.layers):
            raise ValueError(f"{tuple(self.delta.shape)} is not [steps, {len(self.layers)}, width]")

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for rows that are steered alike."""
        return self.layers, id(self.delta), self.alpha, self.schedule, self.after, self.dac

    @cached_property
    def vectors_key(self) -> tuple[object, ...]:
        """Equal for steerings that add the same vectors, whatever their strength."""
        delta = self.delta.float().cpu().numpy()
        return self.layers, delta.shape, self.after, hashlib.blake2b(delta.tobytes()).digest()

    @property
    def off(self) -> "HeadSteering":
        """The same at strength 0."""
        return replace(self, alpha=0.0)

    def at_constant(self, factor: float) -> "HeadSteering":
        """The same at the constant strength alpha · factor: schedule ``fixed``, without `dac`."""
        return replace(self, alpha=factor * self.alpha, schedule="fixed", dac=None)

    def with_vectors(self, change: VectorChange) -> "HeadSteering":
        """The same with other vectors, at all of its layers."""
        layers = [change(self.delta[:, i], layer) for i, layer in enumerate(self.layers)]
        return replace(self, delta=torch.stack(layers, dim=1))  # [steps, layers, width]

    @property
    def steered_steps(self) -> Steps:
        """First steered step (0 is the last prompt token), and the first behind the last one."""
        match self.schedule:
            case "fixed" | "dynamic":
                return 0, FOREVER
            case "start":
                return 0, 1
            case "diminishing":
                return 0, len(self.delta)

    @property
    def fades(self) -> bool:
        """Whether the strength falls to 0, in equal parts, over the steered steps."""
        return self.schedule == "diminishing"

    def factor(self, step: int) -> float:
        """The strength at a step, for any schedule but ``dynamic``."""
        steps = len(self.delta)
        match self.schedule:
            case "fixed":
                return self.alpha
            case "start":
                return self.alpha if step == 0 else 0.0
            case "diminishing":
                return self.alpha * max(0.0, 1.0 - step / steps)
            case "dynamic":
                raise ValueError("a dynamic strength depends on the text")

    def delta_at(self, step: int) -> Tensor:
        """What the strength multiplies at a step, ``[layers, heads · head_dim]`` float32."""
        if step < len(self.delta):
            return self.delta[step].float()
        match self.after:
            case "zero":
                return torch.zeros_like(self.delta[0], dtype=torch.float32)
            case "hold":
                return self.delta[-1].float()
            case "mean":
                return self.delta.float().mean(dim=0)
