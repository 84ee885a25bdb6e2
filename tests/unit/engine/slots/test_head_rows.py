"""Vectors of attention heads in the table on the device, and the strengths of rows."""

import dataclasses

import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots import head_rows, lane
from snakesteer.engine.slots.columns import StepStrengths
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.slots.head_rows import HeadHooks, HeadRows
from snakesteer.errors import UserError
from snakesteer.models.heads import find_heads
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model, prompt_ids
from tests.tiny_models import HIDDEN, NUM_LAYERS

CPU = torch.device("cpu")
STEPS, LAYERS = 3, (0, 2)
DELTA = torch.randn(STEPS, len(LAYERS), HIDDEN, generator=torch.Generator().manual_seed(0))


def rows(count=5, steps=4):
    return HeadRows(HeadHooks(find_heads(loaded_model("llama").model)), count, steps, CPU)


def added(made, scale, steps):
    """What the hooks would add, ``[layers, rows, width]``."""
    made.computed = True
    made.steer(scale, torch.tensor(steps))
    return torch.stack([made.hooks.added(layer) for layer in range(NUM_LAYERS)])


@pytest.mark.parametrize("after", ["zero", "hold", "mean"])
def test_every_row_adds_the_vectors_of_its_step(after):
    one = HeadSteering(LAYERS, DELTA, 1.0, after=after)
    other = HeadSteering((1,), -DELTA[:1, :1], 1.0)
    made = rows()
    made.fill(1, dataclasses.replace(other, delta=torch.ones(4, 1, HIDDEN)))
    made.fill(1, one)  # in the place of what was there
    made.fill(0, other)
    made.put(torch.tensor([0, 1, 2, 4]), [(one, 1), (one, 1), (other, 0), (one, 1)])
    scale = torch.tensor([2.0, -1.0, 3.0, 5.0, 0.5])
    found = added(made, scale, [0, 2, 7, 1, 90])
    wanted = torch.zeros(NUM_LAYERS, 5, HIDDEN)
    for row, step in ((0, 0), (1, 2), (4, 90)):
        wanted[list(LAYERS), row] = scale[row] * one.delta_at(step)
    wanted[1, 2] = -3.0 * DELTA[0, 0]
    assert torch.equal(found, wanted)
    made.put(torch.tensor([0]), [(None, 0)])
    assert not added(made, scale, [0, 2, 7, 1, 90])[:, 0].any()


def test_nothing_is_computed_where_no_row_steers_heads():
    made = rows()
    made.steer(torch.ones(5), torch.zeros(5, dtype=torch.long))
    assert made.hooks.added(0) is None
    made.computed = True
    made.steer(torch.ones(5), torch.zeros(5, dtype=torch.long))
    assert made.hooks.added(0) is not None
    made.hooks.clear()
    assert made.hooks.added(0) is None


def test_the_strength_at_a_step():
    kinds = [
        HeadSteering(LAYERS, DELTA, -2.0, schedule)
        for schedule in ("fixed", "start", "diminishing")
    ]
    residual = ResidualSteering(1, direction(), 0.5, "first_k", first_k=2)
    strengths = StepStrengths(5, CPU)
    strengths.put(torch.tensor([3, 0, 1, 4]), [*kinds, residual])
    for step in range(6):
        found = strengths.at(torch.full((5,), step)).tolist()
        wanted = [kinds[1].factor(step), kinds[2].factor(step), 0.0, kinds[0].factor(step)]
        assert found == pytest.approx([*wanted, 0.5 * residual.steers_step(step)])
    strengths.put(torch.tensor([1]), [None])
    assert strengths.at(torch.zeros(5))[1] == 0.0


def steerings(count):
    return [HeadSteering(LAYERS, (1 + n) * DELTA, 1.0) for n in range(count)]


def test_equal_vectors_lie_in_the_table_once(monkeypatch):
    """Also those of another trial, which are a copy; and there are fewer places than vectors."""
    filled, fill = [], HeadRows.fill

    def counting(self, place, steering):
        filled.append(steering.vectors_key)
        fill(self, place, steering)

    monkeypatch.setattr(HeadRows, "fill", counting)
    trials = [
        HeadSteering(LAYERS, one.delta.clone(), alpha, after=one.after)
        for one in steerings(3)
        for alpha in (0.5, 1.0)
    ]
    requests = [Request(prompt, 4, trial) for trial in trials for prompt in prompt_ids()]
    wanted = ReferenceEngine(loaded_model("llama"), Decoding(), 4).generate(requests)
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 8)
    assert engine.generate(requests) == wanted
    assert len(filled) == 3
    assert engine.generate(requests) == wanted
    assert len(filled) == 3
    for module in (head_rows, lane):
        monkeypatch.setattr(module, "PLACES", 2)
    few = SlotsEngine(loaded_model("llama"), Decoding(), 8)
    assert few.generate(requests) == wanted
    (only,) = few._lanes.values()
    assert only.decoder.heads.table.shape == (NUM_LAYERS, 2 * (STEPS + 1) + 1, HIDDEN)


def test_heads_that_are_not_there_are_refused_and_disturb_no_other_request(monkeypatch):
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 4)
    nine = HeadSteering((9,), DELTA[:, :1], 1.0)
    with pytest.raises(UserError, match="no hook point for layer 9"):
        engine.generate([Request(prompt_ids()[0], 3, nine)])

    def unknown(_model):
        raise UserError("Cannot tell which module", "Use another method.")

    monkeypatch.setattr(head_rows, "find_heads", unknown)
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 4)
    plain = [Request(prompt_ids()[0], 3, ResidualSteering(1, direction(), 1.0))]
    assert engine.generate(plain)[0].num_tokens
    with pytest.raises(UserError, match="Cannot tell which module"):
        engine.generate([*plain, Request(prompt_ids()[0], 3, steerings(1)[0])])


def test_hooks_are_on_projections_only_while_requests_are_answered():
    projections = find_heads(loaded_model("gpt2").model).projections
    before = [len(one._forward_pre_hooks) for one in projections]
    engine = SlotsEngine(loaded_model("gpt2"), Decoding(), 4)
    with engine.session():
        assert [len(one._forward_pre_hooks) for one in projections] == [n + 1 for n in before]
    assert [len(one._forward_pre_hooks) for one in projections] == before
