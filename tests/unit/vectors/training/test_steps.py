"""The log of a training, there and back."""

import pytest

from snakesteer.errors import UserError
from snakesteer.vectors.training.steps import TrainingStep, read_steps, write_steps

LOG = [
    TrainingStep(0, 0, None, 0.25, 0.0),
    TrainingStep(1, 1, 1 / 3, None, 0.01, 0.5, 1e-7),
    TrainingStep(1, 2, 0.125, 0.2, 0.02, 1.0),
]


def test_there_and_back(tmp_path):
    write_steps(tmp_path / "log.csv", LOG)
    assert read_steps(tmp_path / "log.csv") == LOG
    head = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert head == "epoch,step,loss,held_out,dose,reward,kl"


@pytest.mark.parametrize("text", [None, "epoch,step\n1,x\n", "epoch,step,loss,dose\n1,2,a,0\n"])
def test_a_damaged_log_is_named(tmp_path, text):
    path = tmp_path / "log.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"not a readable log|does not exist"):
        read_steps(path)
