"""Vectors that learn: the tensors, their optimizer, and how they survive a kill.

A checkpoint holds everything that the rest of a training depends on, so that one that is taken up
again ends with the same bits as one that was never interrupted.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from snakesteer.config import TrainingConfig
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel
from snakesteer.records.tensors import Array, Tensors, read_tensors, write_tensors
from snakesteer.vectors.training.steps import TrainingStep

_ADAM = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, eq=False)
class UnsteeredStream:
    """The unsteered residual stream at the layers that are trained.

    Attributes:
        norms: ``[layers]`` float32, its mean norms.
        means: ``[layers, hidden]`` float32, its means.
    """

    norms: Tensor
    means: Tensor


@dataclass(eq=False)
class Learner:
    """Vectors in training.

    Attributes:
        doses: ``[layers, hidden]`` float32: the vectors in units of their layers' mean residual
            norms, so that one learning rate fits all layers.
        norms: ``[layers]`` those norms.
        means: ``[layers, hidden]`` means of the residual stream there.
        optimizer: Over `doses`.
        best: ``[layers, hidden]``: `doses` of the best epoch so far.
        best_epoch: Which that is.
        log: All steps so far.
    """

    doses: Tensor
    norms: Tensor
    means: Tensor
    optimizer: torch.optim.Adam
    best: Tensor
    best_epoch: int = 0
    log: list[TrainingStep] = field(default_factory=list)

    @property
    def vectors(self) -> Tensor:
        """``[layers, hidden]`` as they are added to the residual stream."""
        return self.doses * self.norms[:, None]

    @property
    def dose(self) -> float:
        """Mean length of the vectors in mean residual norms."""
        return float(self.doses.detach().norm(dim=1).mean())

    def step(self, max_dose: float) -> None:
        """One step along the gradient that has been gathered; the gradient is gone after it.

        Args:
            max_dose: Longest vector, in mean residual norms.
        """
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            lengths = self.doses.norm(dim=1, keepdim=True)
            self.doses.mul_(torch.where(lengths > max_dose, max_dose / lengths, 1.0))

    def end_epoch(self, epoch: int, higher_is_better: bool) -> None:
        """Keep the vectors if this epoch, the last one in the log, is the best so far.

        Epoch 0, which is no vector, gives way to the first: whether to steer at all is the search's
        to say.
        """
        ends = [one.held_out for one in self.log if one.held_out is not None]
        ranked = [value if higher_is_better else -value for value in ends[1:]]
        if not ranked or ranked[-1] > max(ranked[:-1], default=-math.inf):
            self.best, self.best_epoch = self.doses.detach().clone(), epoch


def new_learner(loaded: LoadedModel, stream: UnsteeredStream, config: TrainingConfig) -> Learner:
    """Vectors at 0.

    Args:
        loaded: The model.
        stream: At every layer that is trained.
        config: Its learning rate is that of all layers together.
    """
    layers, hidden = stream.means.shape
    doses = torch.zeros(layers, hidden, device=loaded.device, requires_grad=True)
    # A first step of Adam changes every entry by its rate: √hidden times that is its length.
    rate = config.learning_rate / (math.sqrt(hidden) * layers)
    return Learner(
        doses=doses,
        norms=stream.norms.to(loaded.device),
        means=stream.means.to(loaded.device),
        optimizer=torch.optim.Adam([doses], lr=rate),
        best=doses.detach().clone(),
    )


def save_learner(path: str | Path, learner: Learner, belongs_to: str) -> None:
    """Write a checkpoint, atomically.

    Args:
        path: The file.
        learner: What is saved.
        belongs_to: A hash of everything that the training depends on.
    """
    state = learner.optimizer.state_dict()["state"].get(0)
    header = {
        "belongs_to": belongs_to,
        "best_epoch": learner.best_epoch,
        "adam_step": None if state is None else float(state["step"]),
        "log": [asdict(one) for one in learner.log],
    }
    nothing = torch.zeros_like(learner.doses)
    tensors: Tensors = {
        "doses": _numpy(learner.doses),
        "best": _numpy(learner.best),
        **{name: _numpy(nothing if state is None else state[name]) for name in _ADAM},
    }
    write_tensors(path, tensors, header)


def resume_learner(path: str | Path, learner: Learner, belongs_to: str) -> bool:
    """Take up a training where its checkpoint left it.

    Args:
        path: The checkpoint, if there is one.
        learner: New; changed if the checkpoint belongs to it.
        belongs_to: As in `save_learner`; a checkpoint of anything else is passed over.

    Returns:
        Whether there was something to take up.

    Raises:
        UserError: The checkpoint is damaged.
    """
    if not Path(path).exists():
        return False
    tensors, header = read_tensors(path, "doses", "best", *_ADAM)
    if header.get("belongs_to") != belongs_to:
        return False
    kept = {name: torch.from_numpy(tensors[name]).to(learner.doses.device) for name in tensors}
    with torch.no_grad():
        learner.doses.copy_(kept["doses"])
    learner.best = kept["best"]
    learner.best_epoch = header["best_epoch"]
    learner.log = [TrainingStep(**one) for one in header["log"]]
    if header["adam_step"] is not None:
        state = learner.optimizer.state_dict()
        moments = {name: kept[name] for name in _ADAM}
        state["state"] = {0: {"step": torch.tensor(header["adam_step"]), **moments}}
        learner.optimizer.load_state_dict(state)
    return True


def check_loss(loss: float, step: int) -> None:
    """Refuse to learn from a loss that is no number.

    Raises:
        UserError: It is not finite; names the step.
    """
    if not math.isfinite(loss):
        raise UserError(
            f"The training loss is {loss} in step {step}",
            "Lower training.learning_rate or training.max_dose, or use model.dtype: float32.",
        )


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().float().cpu().numpy()
