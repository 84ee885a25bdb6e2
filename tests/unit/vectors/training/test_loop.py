"""Training on texts: what it learns, what it may not do, and that it goes on after a kill."""

import copy
import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snakesteer.config import TrainingConfig
from snakesteer.errors import UserError
from snakesteer.steering.positions import Positions
from snakesteer.vectors.training import loop
from snakesteer.vectors.training.learner import UnsteeredStream, new_learner
from snakesteer.vectors.training.lessons import Example, Lesson, split_lessons
from snakesteer.vectors.training.loop import steering_at, train, trained_vectors
from snakesteer.vectors.training.objectives import likelihood, preference
from tests.loaded_models import as_loaded, loaded_model
from tests.planted import (
    LAYER,
    letter_of,
    planted_model,
    resolve_direction,
    telling_model,
    token,
)
from tests.tiny_models import HIDDEN, VOCABULARY
from tests.unit.vectors.training.cases import LESSONS, PREFERENCES, planted_lessons


def taught(loaded, lessons, layers, loss=likelihood, **keys):
    """A learner of lessons, with the vectors of its best epoch."""
    extra = {name: keys.pop(name) for name in ("checkpoint", "belongs_to") if name in keys}
    config = TrainingConfig(**{"held_out": 0.0, **keys})
    learned, kept = split_lessons(lessons, config.held_out, config.seed)
    learner = train(loaded, learned, kept, loss([*learned, *kept]), layers, config, **extra)
    return learner, trained_vectors(learner, layers)


@torch.no_grad()
def mean_stream(loaded, layer):
    """The mean of a block's output from the last prompt token on, position by position."""
    rows = []
    for example in (example for lesson in LESSONS for example in lesson.examples):
        ids = torch.tensor([example.token_ids])
        states = loaded.model(ids, output_hidden_states=True).hidden_states[layer + 1][0]
        rows += [*states[example.prompt_tokens - 1 : -1]]
    return torch.stack(rows).mean(dim=0)


def test_no_weight_changes_and_no_graph_is_kept_below_the_block():
    loaded = loaded_model("llama")
    before = {name: p.clone() for name, p in loaded.model.named_parameters()}
    seen = {}

    def look(layer):
        def hook(_module, _inputs, output):
            hidden = output[0] if isinstance(output, tuple) else output
            seen.setdefault(layer, set()).add(hidden.requires_grad)

        return hook

    handles = [
        block.register_forward_hook(look(layer), prepend=True)
        for layer, block in enumerate(loaded.blocks)
    ]
    _, [vector] = taught(loaded, LESSONS, [2], epochs=1)
    for handle in handles:
        handle.remove()
    assert (vector.direction, vector.layer, vector.raw.shape) == ("trained", 2, (HIDDEN,))
    assert vector.raw.dtype == np.float32
    np.testing.assert_allclose(vector.residual_mean, mean_stream(loaded, 2), rtol=1e-4, atol=1e-5)
    assert seen[0] == seen[1] == {False}
    assert True in seen[3]
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad
        assert parameter.grad is None


def answers(loaded, raw):
    """The number that the model says behind every letter, under a vector."""

    def add(_module, _inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden + torch.from_numpy(raw)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = loaded.blocks[LAYER].register_forward_hook(add)
    ids = torch.tensor([[token("x"), token(letter_of(n))] for n in range(2, 10)])
    with torch.no_grad():
        said = loaded.model(ids).logits[:, -1].argmax(dim=-1).tolist()
    handle.remove()
    return [VOCABULARY[one] for one in said]


RIGHT = [str(n) for n in range(2, 10)]


def test_a_planted_model_learns_to_answer():
    """It says a wrong number a little louder; one vector turns every answer that it can turn."""
    loaded = as_loaded(planted_model("helps"))
    keys = {"epochs": 20, "learning_rate": 0.05, "held_out": 0.25, "max_dose": 2.0}
    learner, [vector] = taught(loaded, planted_lessons(4), [LAYER], **keys)
    assert answers(loaded, np.zeros_like(vector.raw)) != RIGHT
    assert answers(loaded, vector.raw) == RIGHT
    losses = [step.held_out for step in learner.log if step.held_out is not None]
    assert min(losses) < 0.9 * losses[0]


@pytest.mark.parametrize("objective", ["sft", "preference"])
def test_an_objective_finds_the_planted_direction(objective):
    loaded = as_loaded(telling_model())
    lessons, loss = planted_lessons(1), likelihood
    if objective == "preference":
        loss = partial(preference, beta=1.0)
        lessons = [
            Lesson(
                str(n),
                tuple(
                    Example((token("x"), token(letter_of(n)), token(said)), 2)
                    for said in (str(n), "0")
                ),
            )
            for n in range(2, 10)
        ]
    _, [vector] = taught(loaded, lessons, [LAYER], loss, epochs=10, objective=objective)
    assert answers(loaded, np.zeros_like(vector.raw)) != RIGHT
    assert answers(loaded, vector.raw) == RIGHT
    cosine = float(resolve_direction().numpy() @ vector.raw) / vector.norm
    assert cosine > 0.9


def test_layers_that_are_trained_together_share_the_rate():
    loaded = loaded_model("llama")
    learner, vectors = taught(loaded, LESSONS, [0, 2, 3], epochs=1, learning_rate=0.03)
    assert [vector.layer for vector in vectors] == [0, 2, 3]
    assert [vector.dose(1.0) for vector in vectors] == pytest.approx([0.01] * 3, rel=1e-3)
    assert learner.log[-1].dose == pytest.approx(0.01, rel=1e-3)
    steering = steering_at([0, 2, 3], learner.vectors, Positions("all"))
    assert [place.alpha for place in steering.places] == [1.0] * 3
    for place, vector in zip(steering.places, vectors, strict=True):
        assert np.array_equal(place.vector.numpy(), vector.raw)


def test_the_same_seed_gives_the_same_bits():
    loaded = loaded_model("gpt2")
    lessons = [
        Lesson(f"{lesson.problem} {time}", lesson.examples)
        for lesson in LESSONS
        for time in range(4)
    ]
    keys = {"epochs": 2, "batch_tokens": 24, "held_out": 0.1}
    (one, [first]), (two, [second]) = (taught(loaded, lessons, [1], **keys) for _ in range(2))
    assert np.array_equal(first.raw, second.raw)
    assert one.log == two.log
    _, [other] = taught(loaded, lessons, [1], seed=1, **keys)
    assert not np.array_equal(first.raw, other.raw)


def test_a_killed_training_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch):
    loaded = loaded_model("gpt2")
    keys = {"epochs": 4, "batch_tokens": 12, "held_out": 0.25, "belongs_to": "this"}
    whole, [wanted] = taught(loaded, LESSONS, [1], **keys)
    steps = []

    def killed(loss, step):
        steps.append(step)
        if step == 6:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint"
    monkeypatch.setattr(loop, "_SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "check_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        taught(loaded, LESSONS, [1], checkpoint=path, **keys)
    monkeypatch.setattr(loop, "check_loss", lambda loss, step: steps.append(-step))
    learner, [vector] = taught(loaded, LESSONS, [1], checkpoint=path, **keys)
    assert steps[:7] == [1, 2, 3, 4, 5, 6, -6]  # nothing that was finished is done again
    assert np.array_equal(vector.raw, wanted.raw)
    assert learner.log == whole.log
    # What belongs to another training is not taken up.
    steps.clear()
    taught(loaded, LESSONS, [1], checkpoint=path, **{**keys, "belongs_to": "another"})
    assert steps[0] == -1


@pytest.mark.parametrize(
    ("ends", "best"), [([3.0, 5.0, 4.0, 6.0], 2), ([3.0, 2.0, 1.0, 1.0], 2), ([3.0], 0), ([], 3)]
)
def test_no_vector_is_no_choice_even_where_all_epochs_are_worse(ends, best):
    stream = UnsteeredStream(torch.ones(1), torch.zeros(1, HIDDEN))
    learner = new_learner(loaded_model("llama"), stream, TrainingConfig())
    for epoch in range(4):
        if epoch < len(ends):
            learner.log.append(SimpleNamespace(held_out=ends[epoch]))
        if epoch < len(ends) or not ends:
            learner.end_epoch(epoch, higher_is_better=False)
    assert learner.best_epoch == best


def test_the_best_epoch_on_held_out_problems_is_taken():
    loaded = loaded_model("llama")
    keys = {"epochs": 3, "held_out": 0.34, "learning_rate": 2.0, "max_dose": 50.0}
    learner, [vector] = taught(loaded, LESSONS, [1], **keys)
    losses = [step.held_out for step in learner.log if step.held_out is not None]
    assert len(losses) == 4
    assert learner.best_epoch == losses.index(min(losses[1:]))
    assert vector.raw.any()


def test_the_first_step_is_as_long_as_the_rate_says():
    learner, [vector] = taught(loaded_model("llama"), LESSONS, [1], epochs=1, learning_rate=0.02)
    assert learner.log[-1].step == 1
    assert vector.dose(1.0) == pytest.approx(0.02, rel=1e-3)


def test_a_vector_is_no_longer_than_its_cap():
    loaded, keys = loaded_model("llama"), {"epochs": 3, "learning_rate": 0.05}
    _, [free] = taught(loaded, LESSONS, [1], **keys)
    learner, [vector] = taught(loaded, LESSONS, [1], max_dose=0.02, **keys)
    assert free.dose(1.0) > 0.03
    assert vector.dose(1.0) == pytest.approx(0.02, rel=1e-4)
    assert [step.dose for step in learner.log[1:]] == pytest.approx([0.02] * 3, rel=1e-4)


def test_both_texts_of_a_preference_count_as_one_lesson():
    loaded = loaded_model("llama")
    learner, _ = taught(
        loaded, PREFERENCES, [1], lambda every: preference(every, 0.1), objective="preference"
    )
    assert learner.log[-1].loss < learner.log[1].loss
    assert learner.log[1].loss == pytest.approx(np.log(2.0), rel=1e-4)


def test_a_layer_that_the_model_lacks_is_refused():
    with pytest.raises(UserError, match="layer 9"):
        taught(loaded_model("llama"), LESSONS, [9])


def test_a_loss_that_is_not_finite_names_the_step():
    def nan(every):
        return lambda reader, batch, vectors: (vectors.sum() * torch.nan, 1.0)

    with pytest.raises(UserError, match="nan in step 1") as caught:
        taught(loaded_model("llama"), LESSONS, [1], nan)
    assert "training.learning_rate" in caught.value.remedy


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_the_same_seed_gives_the_same_bits_and_about_those_of_the_cpu(dtype):
    loaded = loaded_model("llama")
    model = copy.deepcopy(loaded.model).to("cuda", dtype)
    on_gpu = dataclasses.replace(as_loaded(model), device=torch.device("cuda"), dtype=dtype)
    _, [first] = taught(on_gpu, LESSONS, [1], epochs=2)
    _, [again] = taught(on_gpu, LESSONS, [1], epochs=2)
    assert np.array_equal(first.raw, again.raw)
    _, [on_cpu] = taught(loaded, LESSONS, [1], epochs=2)
    cosine = (first.raw @ on_cpu.raw) / (np.linalg.norm(first.raw) * np.linalg.norm(on_cpu.raw))
    assert cosine > (0.9999 if dtype == torch.float32 else 0.8)
