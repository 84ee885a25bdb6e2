"""Reinforcement: advantages, rewards that rise, the planted direction, and a kill in between."""

import numpy as np
import pytest
import torch

from snakesteer.config import GenerationConfig, PromptConfig, TrainingConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.evaluation.rollouts import drawing
from snakesteer.steering.positions import DEFAULT_POSITIONS
from snakesteer.vectors.training import reinforce as module
from snakesteer.vectors.training.learner import UnsteeredStream, new_learner
from snakesteer.vectors.training.lessons import Example
from snakesteer.vectors.training.loop import trained_vectors
from snakesteer.vectors.training.reinforce import Rollout, advantages, reinforce
from tests.loaded_models import as_loaded
from tests.planted import LAYER, letter_of, planted_model, resolve_direction, telling_model
from tests.tiny_models import EOS

PROBLEMS = [Problem(f"p{n}", letter_of(n), f"#### {n}", str(n)) for n in range(2, 10)]
NAMES = [problem.id for problem in PROBLEMS]
NORM = 14.0


def rollout(problem, reward):
    return Rollout(problem, Example((1, 2, 3), 2), reward)


def test_an_advantage_is_over_the_other_answers_to_the_problem():
    rewards = {"a": [1.0, 0.0, 0.0, 1.0], "b": [1.0, 1.0], "c": [1.0]}
    rollouts = [rollout(name, r) for name, given in rewards.items() for r in given]
    found = advantages([*rollouts[::2], *rollouts[1::2]])  # in whatever order
    wanted = {"a": [2 / 3, -2 / 3, -2 / 3, 2 / 3], "b": [0.0, 0.0], "c": [0.0]}
    in_order = [value for given in wanted.values() for value in given]
    assert found == pytest.approx([*in_order[::2], *in_order[1::2]])


def trained(loaded, epochs=4, held_out=(), checkpoint=None, **keys):
    config = TrainingConfig(
        objective="reinforce",
        epochs=epochs,
        samples=6,
        problems_per_step=4,
        learning_rate=0.004,
        max_dose=0.2,
        **keys,
    )
    engine = SlotsEngine(loaded, Decoding(temperature=config.temperature), slots=16)
    prompter = Prompter(
        PromptConfig(template="x{question}", answer_template="{answer}", shots=0),
        (),
        loaded.tokenizer,
    )
    generation = GenerationConfig(max_new_tokens=3)
    draw = drawing(
        engine, prompter, PROBLEMS, generation, config.samples, [LAYER],
        DEFAULT_POSITIONS,
    )  # fmt: skip
    stream = UnsteeredStream(torch.tensor([NORM]), torch.ones(1, loaded.model.config.hidden_size))
    learner = new_learner(loaded, stream, config)
    learned = [name for name in NAMES if name not in held_out]
    reinforce(
        loaded, learner, learned, list(held_out), draw, [LAYER], config,
        checkpoint=checkpoint, belongs_to="this",
    )  # fmt: skip
    [vector] = trained_vectors(learner, [LAYER])
    return learner, vector


def test_rewards_rise_along_the_planted_direction():
    learner, vector = trained(as_loaded(telling_model()))
    rewards = [step.reward for step in learner.log[1:]]
    assert len(rewards) == 8
    assert rewards[0] < 0.6
    assert min(rewards[-2:]) > 0.9
    cosine = float(resolve_direction().numpy() @ vector.raw) / vector.norm
    assert cosine > 0.9


def test_where_nothing_can_be_known_no_reward_rises():
    """The model that cannot know is right as often as chance, before and after."""
    learner, _ = trained(as_loaded(planted_model("cannot")), epochs=6, held_out=NAMES[:3])
    ends = [step.held_out for step in learner.log if step.held_out is not None]
    assert len(ends) == 7
    assert max(ends) - ends[0] < 0.35


def test_a_kl_keeps_the_vector_short():
    free, _ = trained(as_loaded(telling_model()))
    bound, _ = trained(as_loaded(telling_model()), kl=50.0)
    assert all(step.kl is None for step in free.log)
    assert bound.log[1].kl == pytest.approx(0.0, abs=1e-6)
    assert bound.log[-1].kl > 0.0
    assert bound.dose < 0.5 * free.dose


def test_answers_are_learned_with_their_end(monkeypatch):
    seen = []
    learn = module._learn

    def noting(loaded, learner, rollouts, *rest):
        seen.extend(rollouts)
        return learn(loaded, learner, rollouts, *rest)

    monkeypatch.setattr(module, "_learn", noting)
    trained(as_loaded(telling_model()), epochs=1)
    ended = [one for one in seen if one.example.token_ids[-1] == EOS]
    assert len(ended) > len(seen) / 2
    assert {one.example.prompt_tokens for one in seen} == {2}
    assert any(one.reward for one in seen)


def test_a_killed_training_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch):
    loaded = as_loaded(telling_model())
    whole, wanted = trained(loaded, held_out=NAMES[:2])
    path, drawn = tmp_path / "checkpoint", []
    check = module.check_loss

    def killed(loss, step):
        drawn.append(step)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        check(loss, step)

    monkeypatch.setattr(module, "check_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(loaded, held_out=NAMES[:2], checkpoint=path)
    learner, vector = trained(loaded, held_out=NAMES[:2], checkpoint=path)
    assert drawn[4] == drawn[5]
    assert len(drawn) == len(set(drawn)) + 1  # nothing that was finished is done again
    assert np.array_equal(vector.raw, wanted.raw)
    assert learner.log == whole.log
    assert torch.equal(learner.best, whole.best)
