"""The log of a training, step by step."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from snakesteer.records.files import atomic_path
from snakesteer.records.library_causes import RESULT
from snakesteer.records.library_errors import told


@dataclass(frozen=True)
class TrainingStep:
    """One line of a training's log.

    Attributes:
        epoch: From 1; 0 is before the training.
        step: From 1, counted through all epochs; 0 is before the training.
        loss: Mean loss per token, pair or rollout of the step; None in step 0, and in a step whose
            rollouts were all as good as each other.
        held_out: The same on what is held out, at the end of an epoch; mean reward for `reinforce`.
        dose: Length of the vector in mean residual norms; of several, the mean.
        reward: Mean reward of the step's rollouts, for `reinforce`.
        kl: Mean KL to the unsteered model per token (nats), where it is part of the loss.
    """

    epoch: int
    step: int
    loss: float | None
    held_out: float | None
    dose: float
    reward: float | None = None
    kl: float | None = None


def write_steps(path: str | Path, log: Sequence[TrainingStep]) -> None:
    """Write a log as CSV, atomically; what a step has not is empty."""
    names = [field.name for field in fields(TrainingStep)]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(asdict(step) for step in log)


def read_steps(path: str | Path) -> list[TrainingStep]:
    """Read a log as written by `write_steps`.

    Raises:
        UserError: The file is missing or damaged.
    """
    with told(RESULT, str(path), "is not a readable log of a training"):
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            TrainingStep(
                epoch=int(row.pop("epoch")),
                step=int(row.pop("step")),
                dose=float(row.pop("dose")),
                **{key: float(value) if value else None for key, value in row.items()},
            )
            for row in rows
        ]
