"""Operators and bands of layers in both engines."""

import dataclasses
import random
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch

from snakesteer.config import Scope
from snakesteer.data.prompts import common_prefix
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.decode import SlotDecoder
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.steering.dac import Dac
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.residual import Place, ResidualSteering
from tests.loaded_models import (
    TOKEN_IDS,
    TOKENS,
    axis_for,
    blocks_of,
    direction,
    loaded_model,
    prompt_ids,
)
from tests.tiny_models import EOS
from tests.unit.steering.test_operators import numpy_operator

FAMILIES = ("llama", "gemma2", "gpt2")
SCOPES = get_args(Scope)
WINDOW = (1, 3)  # generated tokens, counted from 0
BANDS = ((1,), (0, 1, 3))
K = 3
DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=3.0, probe_alpha=2.0)
SHOTS = "Q: 1+1? A: 2. Q: 2+3? A: 5. "
PROMPTS = [*prompt_ids(["12+4=", "x"]), *prompt_ids([SHOTS + "4+4?", SHOTS + "Tom has 9"])]


def steering(operator="add", band=(1,), alpha=0.8, scope="from_last_prompt_token", dac=None):
    """A band in which every layer has a vector and a strength of its own."""
    first, *more = (
        Place(layer, direction(layer), alpha * (1.0 + number / 4), axis_for(operator, layer))
        for number, layer in enumerate(band)
    )
    first_k = K if scope == "first_k" else None
    return ResidualSteering(
        first.layer,
        first.vector,
        first.alpha,
        scope,
        first_k,
        dac,
        operator,
        tuple(more),
        WINDOW if "window" in scope else None,
        TOKENS if "tokens" in scope else None,
        first.axis,
    )


def answers(engine, family, requests, **settings):
    return engine(loaded_model(family), Decoding(), **settings).generate(requests)


def steered_positions(one, prompt, ids):
    """The positions of a text that are steered, from what a scope means."""
    last, length = prompt - 1, len(ids)
    match one.scope:
        case "all":
            return range(length)
        case "from_last_prompt_token":
            return range(last, length)
        case "generated_only":
            return range(last + 1, length)
        case "last_prompt_token":
            return range(last, last + 1)
        case "first_k":
            return range(last, min(last + K, length))
        case "generated_window":
            return range(prompt, length)[slice(*WINDOW)]
        case "outside_generated_window":
            return sorted({*range(prompt, length)} - {*range(prompt, length)[slice(*WINDOW)]})
        case "at_tokens":
            return [position for position in range(prompt, length) if ids[position] in TOKEN_IDS]
        case "not_at_tokens":
            return [at for at in range(prompt, length) if ids[at] not in TOKEN_IDS]


def numpy_hook(one, place, where):
    """A hook on a block: every position of `where` goes through numpy."""

    def hook(_module, _inputs, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        for position in where():
            h, axis = hidden[0, position].numpy(), None
            if place.axis is not None:
                axis = place.axis.numpy()
            changed = numpy_operator(one.operator, h, place.vector.numpy(), place.alpha, axis)
            hidden[0, position] = torch.from_numpy(changed.astype(np.float32))
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    return hook


@torch.no_grad()
def slow_answer(family, request):
    """Greedy ids without cache or batch; every steered position goes through numpy."""
    ids = list(request.prompt_ids)
    model, blocks = loaded_model(family).model, blocks_of(family, loaded_model(family).model)

    def where(one):
        return steered_positions(one, len(request.prompt_ids), ids)

    handles = [
        blocks[place.layer].register_forward_hook(numpy_hook(one, place, partial(where, one)))
        for one in (request.steering, *request.steering.beside)
        for place in one.places
    ]
    try:
        while len(ids) < len(request.prompt_ids) + request.max_new_tokens:
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] == EOS:
                return tuple(ids[len(request.prompt_ids) : -1])
    finally:
        for handle in handles:
            handle.remove()
    return tuple(ids[len(request.prompt_ids) :])


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_reference_equals_a_slow_computation(family, operator):
    requests = [
        Request(prompt, 6, steering(operator, band, scope=scope))
        for prompt in PROMPTS[:3]
        for band in BANDS
        for scope in SCOPES
    ]
    found = answers(ReferenceEngine, family, requests, batch_size=4)
    unsteered = answers(ReferenceEngine, family, [Request(p, 6) for p in PROMPTS[:3]], batch_size=4)
    for request, generation in zip(requests, found, strict=True):
        assert generation.token_ids == slow_answer(family, request)
    assert len({g.token_ids for g in found} - {g.token_ids for g in unsteered}) > len(PROMPTS)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sets_of_tokens_side_by_side(family):
    """Several sets in one batch, as rules and as ids; new ones come while others are decoded."""
    rules = [TOKENS, tuple(TOKEN_IDS), ("a", " ", 20), "[n-z]", r"\d", tuple(range(5, 60))]
    ids = [
        Request(prompt, 9, dataclasses.replace(steering(scope=scope, alpha=3.0), tokens=rule))
        for rule in rules
        for scope in ("at_tokens", "not_at_tokens")
        for prompt in PROMPTS
    ]
    ids += [Request(prompt, 9, steering()) for prompt in PROMPTS]
    wanted = answers(ReferenceEngine, family, ids, batch_size=8)
    engine = SlotsEngine(loaded_model(family), Decoding(), 5)
    assert engine.generate(ids) == wanted
    assert engine.generate(ids[::-1]) == wanted[::-1]
    per_rule = 2 * len(PROMPTS)
    assert wanted[:per_rule] == wanted[per_rule : 2 * per_rule]  # the same set
    assert len({one.token_ids for one in wanted}) > len(wanted) // 3


def mixed_requests(new=8):
    """Every operator, band and scope, DAC with a band, and the unsteered model, in any order."""
    steerings = [
        steering(operator, band, alpha, scope)
        for operator in OPERATORS
        for band, alpha in zip(BANDS, (0.8, -0.5), strict=True)
        for scope in SCOPES
    ]
    steerings += [None, *(steering(band=band, dac=DAC) for band in BANDS)]
    requests = [Request(prompt, new, one) for one in steerings for prompt in PROMPTS]
    random.Random(0).shuffle(requests)
    return requests


def both_engines(family, requests):
    """What the reference answers, and slots with a shared prefix."""
    shared = common_prefix([prompt[:-1] for prompt in PROMPTS[2:]])
    return (
        answers(ReferenceEngine, family, requests, batch_size=8),
        answers(SlotsEngine, family, requests, slots=13, shared_prefix=shared),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_equal_the_reference(family):
    wanted, found = both_engines(family, mixed_requests())
    assert len({generation.token_ids for generation in wanted}) > len(wanted) // 4
    assert found == wanted


def test_dac_with_a_band_of_one_vector_is_one_of_many_layers():
    """The real stream adds α·α_t·v at all layers: without a cap or threshold it is on at once."""
    always = Dac(entropy_threshold=0.0, ptop=1.0, max_alpha=0.5, probe_alpha=50.0)
    dynamic = steering(band=(0, 2), alpha=1.0, dac=always)
    fixed = steering(band=(0, 2), alpha=0.5)  # the KL is above the cap, so that α_t = 0.5
    for engine, settings in ((ReferenceEngine, {"batch_size": 4}), (SlotsEngine, {"slots": 6})):
        one, other = (
            answers(engine, "llama", [Request(p, 8, how) for p in PROMPTS], **settings)
            for how in (dynamic, fixed)
        )
        assert one == other


def test_an_engine_goes_back_and_forth(monkeypatch):
    """One engine, from plain requests to bands and back; the plain ones stay the same."""
    seen, run = set(), SlotDecoder.run

    def noting(decoder, ticks, used):
        seen.add((decoder.rows.computed, decoder.capacity.places))
        return run(decoder, ticks, used)

    def asked(requests):
        seen.clear()
        return engine.generate(requests), set(seen)

    monkeypatch.setattr(SlotDecoder, "run", noting)
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 6)
    plain = [Request(prompt, 7, one) for prompt in PROMPTS for one in (None, steering())]
    before, computed = asked(plain)
    assert computed == {((), 1)}
    assert asked([Request(PROMPTS[0], 7, steering("clamp"))])[1] == {(("clamp",), 1)}
    assert asked([Request(PROMPTS[0], 7, steering(band=(0, 1)))])[1] == {(("add",), 2)}
    assert asked(plain) == (before, {((), 2)})


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="DAC sets the strength of an addition"):
        steering("clamp", dac=DAC)
    with pytest.raises(ValueError, match=r"twice: \[1, 1\]"):
        steering(band=(1, 1))
    with pytest.raises(ValueError, match="a plane belongs to rotate"):
        dataclasses.replace(steering("rotate"), axis=None)
    with pytest.raises(ValueError, match="a plane belongs to rotate"):
        dataclasses.replace(steering("angular"), axis=direction())
    with pytest.raises(ValueError, match="all or none are 0"):
        dataclasses.replace(steering(), more=(Place(2, direction(), 0.0),))
