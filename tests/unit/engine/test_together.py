"""Several vectors at once, in both engines, against a slow computation and as mixed batches."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.reference.forced import GivenText, forced_logits
from snakesteer.engine.slots.decode import SlotDecoder
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.slots.parts import parts, reading
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model
from tests.unit.engine.test_operators import (
    DAC,
    FAMILIES,
    PROMPTS,
    SCOPES,
    answers,
    both_engines,
    slow_answer,
    steering,
)


def other(vector: int, one: ResidualSteering) -> ResidualSteering:
    """The same with another direction."""
    return one.with_vectors(lambda _vector, layer: direction(10 * vector + layer))


def together(*some: ResidualSteering) -> ResidualSteering:
    first, *others = (other(number, one) for number, one in enumerate(some))
    return replace(first, beside=tuple(others))


TOGETHER = {
    "two layers": together(steering(band=(1,)), steering(band=(3,), alpha=-0.6)),
    "one layer, two scopes": together(
        steering(scope="last_prompt_token", alpha=2.0), steering(scope="generated_only")
    ),
    "one layer, two operators": together(steering("add", alpha=1.5), steering("clamp", alpha=0.4)),
    "the other way round": together(steering("clamp", alpha=0.4), steering("add", alpha=1.5)),
    "three": together(
        steering("rotate", alpha=0.7, scope="all"),
        steering("ablate", (0, 1), 1.0, scope="at_tokens"),
        steering("angular", alpha=-0.4, scope="outside_generated_window"),
    ),
    "the prompt by the second alone": together(
        steering(scope="first_k"), steering("norm_preserving", scope="all")
    ),
    "a band and a window": together(
        steering(band=(0, 2)), steering(band=(2,), scope="generated_window", alpha=3.0)
    ),
}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("engine", [ReferenceEngine, SlotsEngine])
def test_both_engines_equal_a_slow_computation(family, engine):
    settings = {"batch_size": 4} if engine is ReferenceEngine else {"slots": 6}
    requests = [Request(prompt, 6, one) for one in TOGETHER.values() for prompt in PROMPTS[:3]]
    found = answers(engine, family, requests, **settings)
    for request, generation in zip(requests, found, strict=True):
        assert generation.token_ids == slow_answer(family, request)
    steerings = [part for one in TOGETHER.values() for part in one.parts]
    alone = [Request(prompt, 6, part) for part in steerings for prompt in PROMPTS[:3]]
    apart = {one.token_ids for one in answers(engine, family, alone, **settings)}
    assert len({one.token_ids for one in found} - apart) > len(PROMPTS)


def test_every_pair_of_operators_in_either_order():
    """They meet at one layer, where the earlier one is done first."""
    pairs = list(itertools.product(OPERATORS, OPERATORS))
    requests = [
        Request(PROMPTS[1], 8, replace(one, beside=(two,)))
        for a, b in pairs
        for one, two in [(numbered(0, a, 2.5), numbered(1, b, -1.5))]
    ]
    requests += [
        Request(request.prompt_ids, 8, replace(one.beside[0], beside=(one.parts[0],)))
        for request in requests
        for one in [request.steering]
    ]
    wanted = [slow_answer("llama", request) for request in requests]
    for engine, settings in ((ReferenceEngine, {"batch_size": 4}), (SlotsEngine, {"slots": 7})):
        found = answers(engine, "llama", requests, **settings)
        assert [one.token_ids for one in found] == wanted
    forth, back = wanted[: len(pairs)], wanted[len(pairs) :]
    assert len(set(wanted)) > len(pairs) // 2
    other_way = {pair for pair, one, two in zip(pairs, forth, back, strict=True) if one != two}
    assert len(other_way) > 6
    assert ("add", "add") not in other_way


def numbered(vector, operator, alpha):
    return other(vector, steering(operator, alpha=alpha, scope="all"))


def mixed_requests(new=8):
    """Several vectors beside one, a band, DAC and nothing, of all scopes, in any order."""
    some = [*TOGETHER.values(), None, steering(dac=DAC), *map(plain, SCOPES)]
    some += [together(steering(scope=one), steering(scope=two)) for one, two in zip(
        SCOPES, SCOPES[1:] + SCOPES[:1], strict=True
    )]  # fmt: skip
    requests = [Request(prompt, new, one) for one in some for prompt in PROMPTS]
    random.Random(0).shuffle(requests)
    return requests


def plain(scope):
    return steering(scope=scope)


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_batches_of_slots_equal_the_reference(family):
    wanted, found = both_engines(family, mixed_requests())
    assert len({generation.token_ids for generation in wanted}) > len(wanted) // 4
    assert found == wanted


def test_an_engine_goes_back_and_forth(monkeypatch):
    """From plain requests to several vectors and back: what is not needed is not computed."""
    seen, run = set(), SlotDecoder.run

    def noting(decoder, ticks, used):
        beside = tuple(more.rows.computed for more in decoder.beside)
        seen.add((decoder.rows.computed, beside))
        return run(decoder, ticks, used)

    def asked(requests):
        seen.clear()
        return engine.generate(requests), set(seen)

    monkeypatch.setattr(SlotDecoder, "run", noting)
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 6)
    plain_ones = [Request(prompt, 7, one) for prompt in PROMPTS for one in (None, steering())]
    before, computed = asked(plain_ones)
    assert computed == {((), ())}
    two = TOGETHER["one layer, two operators"]
    assert asked([Request(PROMPTS[0], 7, two)])[1] == {(("add",), (("clamp",),))}
    assert asked(plain_ones) == (before, {((), ((),))})


def test_parts_that_cancel_at_one_layer_change_little():
    """v and −v at once: what rounding leaves, and no word else."""
    one = steering(alpha=0.5)
    nothing = replace(one, beside=(replace(one, alpha=-0.5),))
    for engine, settings in ((ReferenceEngine, {"batch_size": 4}), (SlotsEngine, {"slots": 6})):
        found, unsteered = (
            answers(engine, "llama", [Request(prompt, 6, how) for prompt in PROMPTS], **settings)
            for how in (nothing, None)
        )
        assert found == unsteered


@pytest.mark.parametrize("name", TOGETHER)
def test_given_texts_are_read_as_they_were_generated(name):
    loaded, how = loaded_model("llama"), TOGETHER[name]
    requests = [Request(prompt, 7, how) for prompt in PROMPTS if len(prompt) > 1]
    found = ReferenceEngine(loaded, Decoding(), 8).generate(requests)
    texts = [
        GivenText((*request.prompt_ids, *one.token_ids), len(request.prompt_ids))
        for request, one in zip(requests, found, strict=True)
        if one.token_ids
    ]
    assert texts
    for index, read in forced_logits(loaded, texts, how):
        assert tuple(read.steered.argmax(dim=-1).tolist()) == texts[index].generated


def test_the_prompt_is_read_under_the_parts_that_reach_it():
    request = Request(PROMPTS[2], 3, TOGETHER["the prompt by the second alone"])
    found = parts(request)
    assert found.blocks is request.steering
    assert (found.prompt.operator, found.prompt.beside) == ("norm_preserving", ())
    both = together(steering(scope="all"), steering(scope="all"))
    assert parts(Request(PROMPTS[2], 3, both)).prompt is both
    turned = replace(both.beside[0], beside=both.parts[:1])
    assert reading(Request(PROMPTS[2], 3, both)) != reading(Request(PROMPTS[2], 3, turned))
    assert parts(Request(PROMPTS[2], 3, both.off)).prompt is None
    assert reading(Request(PROMPTS[2], 3, TOGETHER["two layers"])) is None


def test_what_makes_no_sense_is_refused():
    one, two = steering(), steering(band=(2,))
    with pytest.raises(ValueError, match="all or none are 0"):
        replace(one, beside=(two.off,))
    with pytest.raises(ValueError, match="not of several at once"):
        replace(steering(dac=DAC), beside=(two,))
    with pytest.raises(ValueError, match="not of several at once"):
        replace(one, beside=(steering(dac=DAC),))
    with pytest.raises(ValueError, match="nothing beside itself"):
        replace(one, beside=(replace(two, beside=(one,)),))
    assert replace(one, beside=(two,)).key != replace(one, beside=(replace(two, alpha=0.1),)).key
    assert all(part.alpha == 0.0 for part in replace(one, beside=(two,)).off.parts)
    turned = replace(one, beside=(two,)).with_parts(lambda part: replace(part, alpha=-part.alpha))
    assert [part.alpha for part in turned.parts] == [-one.alpha, -two.alpha]
    assert torch.equal(turned.beside[0].vector, two.vector)
