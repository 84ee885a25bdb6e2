"""Losses against sums over texts computed one by one, and their gradients against differences."""

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from snakesteer.config import TrainingConfig
from snakesteer.steering.residual import Place, ResidualSteering
from snakesteer.vectors.training.objectives import likelihood, preference
from snakesteer.vectors.training.reading import BatchReader
from snakesteer.vectors.training.reinforce import policy_loss
from tests.loaded_models import direction
from tests.tiny_models import HIDDEN
from tests.unit.vectors.training.cases import (
    EXAMPLES,
    LESSONS,
    PREFERENCES,
    in_float64,
    slow_log_likelihood,
    slow_logits,
)

# GPT-2 computes all of it in float64, where others go through float32.
FAMILY = "gpt2"
STEERING = ResidualSteering(1, torch.zeros(0), 1.0, more=(Place(2, torch.zeros(0), 1.0),))
STEP = 1e-5  # of finite differences
BETA, KL, TEMPERATURE = 0.3, 0.2, 0.7
ADVANTAGES = [0.5, -1.0, 0.25, 0.0]
CONFIG = TrainingConfig(objective="reinforce", kl=KL, temperature=TEMPERATURE)


def vectors():
    return torch.stack([direction(0), direction(1)]).double()


def examples_of(lessons):
    return [example for lesson in lessons for example in lesson.examples]


def said(loaded, example, at, temperature=1.0):
    return slow_log_likelihood(FAMILY, loaded, STEERING, example, at, temperature)


def slow_likelihood(loaded, at):
    weights = [1.0, 0.5, 2.0, 1.0]
    return -sum(w * said(loaded, e, at) for w, e in zip(weights, EXAMPLES, strict=True))


def slow_preference(loaded, at):
    """Equation 2 of BiPO, for both directions."""
    total = 0.0
    for lesson in PREFERENCES:
        right, wrong = lesson.examples
        for sign in (1.0, -1.0):
            gains = [
                said(loaded, one, sign * at) - said(loaded, one, torch.zeros_like(at))
                for one in (right, wrong)
            ]
            total = total - lesson.weight * logsigmoid(sign * BETA * (gains[0] - gains[1]))
    return total


def slow_policy(loaded, at):
    total = 0.0
    for advantage, example in zip(ADVANTAGES, EXAMPLES, strict=True):
        total = total - advantage * said(loaded, example, at, TEMPERATURE)
        ours, theirs = (
            torch.log_softmax(
                slow_logits(FAMILY, loaded, STEERING, example, given) / TEMPERATURE, dim=-1
            )
            for given in (at, torch.zeros_like(at))
        )
        total = total + KL * (ours.exp() * (ours - theirs)).sum()
    return total


def fast_likelihood(loaded, at):
    weighted = [
        type(lesson)(lesson.problem, lesson.examples, weight)
        for lesson, weight in zip(LESSONS, [1.0, 0.5, 2.0, 1.0], strict=True)
    ]
    reader = BatchReader(loaded, EXAMPLES, STEERING)
    found = [likelihood(weighted)(reader, part, at) for part in ([0, 1], [2, 3])]
    tokens = [len(one.token_ids) - one.prompt_tokens for one in EXAMPLES]
    assert sum(count for _, count in found) == pytest.approx(
        tokens[0] + 0.5 * tokens[1] + 2.0 * tokens[2] + tokens[3]
    )
    return sum(loss for loss, _ in found)


def fast_preference(loaded, at):
    reader = BatchReader(loaded, examples_of(PREFERENCES), STEERING)
    loss, count = preference(PREFERENCES, BETA)(reader, [0, 1], at)
    assert count == pytest.approx(2 * (1.0 + 0.5))
    return loss


def fast_policy(loaded, at):
    reader = BatchReader(loaded, EXAMPLES, STEERING)
    parts = [policy_loss(reader, part, [ADVANTAGES[i] for i in part], at, CONFIG)
             for part in ([0, 1], [2, 3])]  # fmt: skip
    return sum(loss + KL * kl for loss, kl in parts)


CASES = {
    "sft and own_correct": (fast_likelihood, slow_likelihood),
    "preference": (fast_preference, slow_preference),
    "reinforce": (fast_policy, slow_policy),
}


@pytest.mark.parametrize("objective", CASES)
def test_a_loss_is_the_sum_over_texts(objective):
    fast, slow = CASES[objective]
    loaded = in_float64(FAMILY)
    with torch.no_grad():
        found, wanted = fast(loaded, vectors()), slow(loaded, vectors())
    assert float(found) == pytest.approx(float(wanted), rel=1e-9)


@pytest.mark.parametrize("objective", CASES)
def test_a_gradient_against_finite_differences(objective):
    fast, slow = CASES[objective]
    loaded = in_float64(FAMILY)
    at = vectors().requires_grad_()
    fast(loaded, at).backward()
    for layer, axis in ((0, 0), (0, 17), (1, 5), (1, HIDDEN - 1)):
        ends = []
        for sign in (1, -1):
            moved = at.detach().clone()
            moved[layer, axis] += sign * STEP
            with torch.no_grad():
                ends.append(float(slow(loaded, moved)))
        slope = (ends[0] - ends[1]) / (2 * STEP)
        assert float(at.grad[layer, axis]) == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_a_preference_is_even_without_a_vector():
    loaded = in_float64(FAMILY)
    with torch.no_grad():
        loss = fast_preference(loaded, torch.zeros(2, HIDDEN, dtype=torch.float64))
    assert float(loss) == pytest.approx(3.0 * math.log(2.0))
