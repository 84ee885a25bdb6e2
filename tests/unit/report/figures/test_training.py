"""The figure of a training."""

from snakesteer.report.figures.training import training_figure
from snakesteer.vectors.training.steps import TrainingStep

LOSSES = [
    TrainingStep(0, 0, None, 0.5, 0.0),
    TrainingStep(1, 1, 0.6, None, 0.01),
    TrainingStep(1, 2, 0.4, 0.3, 0.02),
    TrainingStep(2, 3, 0.3, 0.35, 0.03),
]
REWARDS = [
    TrainingStep(1, 1, 0.1, None, 0.01, 0.25),
    TrainingStep(1, 2, None, None, 0.01, 0.75),
]


def test_losses_of_every_layer():
    figure = training_figure({"layer 3": LOSSES, "layer 9": LOSSES[:3]}, "sft")
    assert figure.columns == ("Trained", "Epoch", "Step", "Loss", "Held out", "Dose")
    assert figure.rows[0] == ("layer 3", "0", "0", "", "0.500", "0.000")
    assert figure.rows[2] == ("layer 3", "1", "2", "0.400", "0.300", "0.020")
    assert len(figure.rows) == 7
    assert "layer 3: held-out loss 0.500 before, 0.300 at best" in figure.caption
    assert figure.svg().startswith("<svg")


def test_rewards_without_held_out_problems():
    figure = training_figure({"band": REWARDS}, "reinforce")
    assert "band: reward 0.250 in the first step, 0.750 in the last" in figure.alt
    assert [row[3] for row in figure.rows] == ["0.250", "0.750"]
    assert "Mean reward" in figure.caption
    figure.svg()
