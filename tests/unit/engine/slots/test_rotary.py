"""Rotary embeddings that change with the longest text of a batch."""

import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.check import supports
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.errors import UserError
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import as_loaded, direction, loaded_model, prompt_ids
from tests.tiny_models import CONTEXT, tiny_model

FACTORS = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
KINDS = {
    "dynamic": {"factor": 2.0},
    "longrope": FACTORS | {"original_max_position_embeddings": CONTEXT // 2},
}
PROMPT = prompt_ids()[2]


def model_with(kind, family="llama", **others):
    parameters = {"rope_type": kind, "rope_theta": 1e4} | KINDS[kind] | others
    return as_loaded(tiny_model(family, rope_parameters=parameters))


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_held_up_to_where_they_would_change(kind):
    """Also after a longer text has been read otherwise, and as they were when nothing runs."""
    loaded = model_with(kind)
    rotary = loaded.model.model.rotary_emb
    limit = CONTEXT if kind == "dynamic" else CONTEXT // 2
    request = Request(PROMPT, limit - len(PROMPT))
    wanted = ReferenceEngine(loaded, Decoding(), 1).generate([request])
    engine = SlotsEngine(loaded, Decoding(), 4)
    with torch.no_grad():
        loaded.model(torch.ones(1, limit + 9, dtype=torch.long))
    grown, first = rotary.inv_freq.clone(), rotary.original_inv_freq.clone()
    assert not torch.equal(grown, first)
    assert engine.generate([request]) == wanted
    assert rotary.rope_type == kind
    assert torch.equal(rotary.inv_freq, grown)
    assert torch.equal(rotary.original_inv_freq, first)


def test_what_goes_beyond_is_refused_with_a_remedy():
    engine = SlotsEngine(loaded_model("phi3"), Decoding(), 4)
    with pytest.raises(UserError, match=f"behind {CONTEXT // 2} the model's rotary") as refusal:
        engine.generate([Request(PROMPT, 3), Request(PROMPT, CONTEXT // 2)])
    assert "engine.name: reference" in refusal.value.remedy
    with pytest.raises(UserError, match=f"context of {CONTEXT}"):
        SlotsEngine(model_with("dynamic"), Decoding(), 4).generate([Request(PROMPT, CONTEXT)])


def test_the_reference_engine_says_why_it_cannot_steer_across():
    """There the model reads the whole text once more, with its other frequencies."""
    prompt = (PROMPT * CONTEXT)[: CONTEXT // 2 - 2]
    steered = Request(prompt, 9, ResidualSteering(1, direction(), 1.0))
    loaded, lengths = model_with("longrope", "phi3"), []
    loaded.model.register_forward_pre_hook(
        lambda _, __, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    engine = ReferenceEngine(loaded, Decoding(), 1)
    engine.generate([Request(prompt, 9)])
    if max(lengths[1:]) == 1:
        pytest.skip("this transformers goes on with the cache that it has")
    with pytest.raises(UserError, match="passes original_max_position_embeddings"):
        engine.generate([steered])


def test_a_scale_of_its_own_for_long_texts_cannot_be_held():
    """PhiMoE reads it anew at every step."""
    loaded = model_with("longrope", short_mscale=1.1, long_mscale=1.2)
    assert "rotary embedding changes" in supports(loaded)


def test_code_that_came_with_a_model_is_not_known():
    loaded = model_with("dynamic")
    del loaded.model.model.rotary_emb.rope_type
    assert "rotary embedding changes" in supports(loaded)
