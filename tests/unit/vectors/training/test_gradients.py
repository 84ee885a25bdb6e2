"""The way back: told to repeat its bits on a GPU, and what happens where it cannot."""

import logging

import pytest
import torch

from snakesteer.vectors.training.gradients import repeatable

GPU, CPU = torch.device("cuda"), torch.device("cpu")


def told() -> bool:
    return torch.are_deterministic_algorithms_enabled()


def test_only_a_gpu_needs_to_be_told():
    assert repeatable(told, GPU)
    assert not repeatable(told, CPU)
    assert not told()


def test_an_operation_that_cannot_repeat_its_bits_is_named_and_goes_on_without(caplog):
    tried = []

    def learn() -> float:
        tried.append(told())
        target = torch.zeros(3)
        return float(target.put_(torch.tensor([1]), torch.tensor([2.0])).sum())

    with caplog.at_level(logging.WARNING):
        assert repeatable(learn, GPU) == 2.0
    assert tried == [True, False]
    assert "put_" in caplog.text
    assert not told()


def test_other_errors_are_not_tried_again():
    tried = []

    def learn() -> None:
        tried.append(told())
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        repeatable(learn, GPU)
    assert tried == [True]
    assert not told()
