"""Gates in both engines, against a computation without cache or batch."""

import dataclasses
import itertools
import random
from typing import get_args

import numpy as np
import pytest
import torch

from snakesteer.config import Scope
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.reference.forced import GivenText, forced_logits
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.steering.dac import Dac
from snakesteer.steering.gates import Gate
from snakesteer.steering.operators import OPERATORS
from tests.loaded_models import blocks_of, direction, loaded_model
from tests.tiny_models import EOS
from tests.unit.engine.test_operators import (
    BANDS,
    FAMILIES,
    PROMPTS,
    SCOPES,
    answers,
    both_engines,
    numpy_hook,
    steered_positions,
    steering,
)

MIXED = ("cosine", "projection")


@torch.no_grad()
def outputs_of(family, ids, layer):
    """What a block makes of a text, unsteered, ``[seq, hidden]``."""
    kept = []

    def keep(_module, _inputs, output):
        kept.append(output[0] if isinstance(output, tuple) else output)

    loaded = loaded_model(family)
    handle = blocks_of(family, loaded.model)[layer].register_forward_hook(keep)
    loaded.model(torch.tensor([ids]), use_cache=False)
    handle.remove()
    return kept[0][0].double().numpy()


def score(gate, h):
    v = gate.vector.double().numpy()
    projection = h @ v / np.linalg.norm(v)
    return projection / np.linalg.norm(h) if gate.score == "cosine" else projection


def gate(family, kind="cosine", side="above", when="token", layer=1, seed=9):
    """A gate about the median of the scores of what the prompts hold, in the widest gap there."""
    one = Gate(layer, direction(seed), kind, 0.0, side, when)
    found = sorted(
        score(one, h)
        for prompt in PROMPTS
        for h in outputs_of(family, prompt, layer)[-1 if when == "prompt" else 0 :]
    )
    middle = found[len(found) // 3 : 2 * len(found) // 3 + 2]
    low, high = max(itertools.pairwise(middle), key=lambda pair: pair[1] - pair[0])
    return dataclasses.replace(one, threshold=(low + high) / 2)


def gates(family, layer=1):
    return [
        gate(family, kind, side, when, layer)
        for kind in MIXED
        for side in ("above", "below")
        for when in ("token", "prompt")
    ]


def is_open(one, h):
    return score(one, h) > one.threshold if one.side == "above" else score(one, h) < one.threshold


@torch.no_grad()
def slow_answer(family, request):
    """Greedy ids, and whether the gate let each step be steered; all positions go through numpy."""
    one, ids = request.steering, list(request.prompt_ids)
    model, blocks = loaded_model(family).model, blocks_of(family, loaded_model(family).model)
    prompt, steered = len(ids), []

    while len(ids) < prompt + request.max_new_tokens:
        where = steered_positions(one, prompt, ids)
        if one.gate is not None:
            looked_at = outputs_of(family, ids, one.gate.layer)
            asked = [prompt - 1] * len(ids) if one.gate.when == "prompt" else range(len(ids))
            where = [at for at in where if is_open(one.gate, looked_at[asked[at]])]
        steered.append(len(ids) - 1 in where)
        handles = [
            blocks[place.layer].register_forward_hook(numpy_hook(one, place, where.__iter__))
            for place in one.places
        ]
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        for handle in handles:
            handle.remove()
        if ids[-1] == EOS:
            return tuple(ids[prompt:-1]), steered
    return tuple(ids[prompt:]), steered


def gated(one, **changes):
    return dataclasses.replace(steering(**changes), gate=one)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("scope", SCOPES)
def test_the_reference_equals_a_slow_computation(family, scope):
    requests = [
        Request(prompt, 6, gated(one, band=band, scope=scope, alpha=3.0))
        for prompt in PROMPTS[:3]
        for band, several in (((1,), gates(family)[::2]), ((1, 2), gates(family, layer=0)[1::2]))
        for one in several
    ]
    found = answers(ReferenceEngine, family, requests, batch_size=5)
    slow = [slow_answer(family, request) for request in requests]
    assert [one.token_ids for one in found] == [ids for ids, _ in slow]
    for one, (_, steered) in zip(found, slow, strict=True):
        assert one.steered_share == pytest.approx(np.mean(steered))
    assert 0.0 < np.mean([np.mean(steered) for _, steered in slow]) < 1.0


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_behind_gates_equal_a_slow_computation(operator):
    requests = [
        Request(prompt, 6, gated(one, operator=operator, scope=scope))
        for prompt in PROMPTS[:3]
        for number, one in enumerate(gates("llama"))
        for scope in (("all", "from_last_prompt_token")[number % 2],)
    ]
    found = answers(ReferenceEngine, "llama", requests, batch_size=5)
    assert [one.token_ids for one in found] == [slow_answer("llama", one)[0] for one in requests]


def mixed_requests(family, new=8):
    """Gated and ungated rows of every scope and operator, in any order."""
    several = gates(family)
    steerings = [
        gated(one, operator=operator, scope=scope, alpha=alpha)
        for number, scope in enumerate(get_args(Scope))
        for one, alpha in (
            (several[number % len(several)], 3.0),
            (several[-1 - number % len(several)], 3.0),
            (several[(3 * number) % len(several)], 0.0),
        )
        for operator in (OPERATORS[number % len(OPERATORS)], "add")
    ]
    steerings += [gated(one, band=BANDS[1], alpha=-1.5) for one in gates(family, layer=0)]
    steerings += [None, steering(alpha=3.0), steering("clamp"), steering(scope="all")]
    requests = [Request(prompt, new, one) for one in steerings for prompt in PROMPTS]
    random.Random(0).shuffle(requests)
    return requests


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_equal_the_reference(family):
    wanted, found = both_engines(family, mixed_requests(family))
    assert found == wanted
    assert [one.steered_share for one in found] == [one.steered_share for one in wanted]
    assert len({generation.token_ids for generation in wanted}) > len(wanted) // 6


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_gate_at_strength_0_changes_no_bit_and_neither_does_a_closed_one(family):
    never = [dataclasses.replace(one, threshold=1e9, side="above") for one in gates(family)]
    for engine, settings in ((ReferenceEngine, {"batch_size": 3}), (SlotsEngine, {"slots": 6})):
        plain = answers(engine, family, [Request(p, 8) for p in PROMPTS], **settings)
        off = [(one, 0.0) for one in gates(family)[:2]]
        for one, alpha in (*off, *((one, 9.0) for one in never)):
            for scope in ("all", "generated_only"):
                asked = [Request(p, 8, gated(one, alpha=alpha, scope=scope)) for p in PROMPTS]
                found = answers(engine, family, asked, **settings)
                assert found == plain
                assert {g.steered_share for g in found} == {0.0}


def test_an_open_gate_is_no_gate():
    always = [dataclasses.replace(one, threshold=-1e9, side="above") for one in gates("llama")]
    for engine, settings in ((ReferenceEngine, {"batch_size": 4}), (SlotsEngine, {"slots": 6})):
        for scope in ("all", "from_last_prompt_token", "at_tokens"):
            bare = [Request(p, 8, steering(alpha=3.0, scope=scope)) for p in PROMPTS]
            wanted = answers(engine, "llama", bare, **settings)
            assert all(one.steered_share is None for one in wanted)
            for one in always:
                asked = [Request(p, 8, gated(one, alpha=3.0, scope=scope)) for p in PROMPTS]
                assert answers(engine, "llama", asked, **settings) == wanted


def test_prompts_are_asked_once_for_a_gate_and_in_chunks(monkeypatch):
    """One pass for the prompts of one width; none for what is known."""
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 6)
    widths = []
    right = Prefill.last_outputs

    def noting(self, prompts, layer):
        widths.append((len(prompts), layer))
        return right(self, prompts, layer)

    monkeypatch.setattr(Prefill, "last_outputs", noting)
    one = gate("llama", when="prompt")
    asked = [Request(p, 4, gated(one, alpha=a)) for p in PROMPTS for a in (1.0, 2.0)]
    engine.generate(asked)
    assert sum(count for count, _ in widths) == len(PROMPTS)
    engine.generate([Request(p, 4, gated(one, scope="all", alpha=1.0)) for p in PROMPTS])
    assert sum(count for count, _ in widths) == len(PROMPTS)
    engine.generate([Request(PROMPTS[0], 4, gated(gate("llama", when="prompt", seed=4)))])
    assert sum(count for count, _ in widths) == len(PROMPTS) + 1


@pytest.mark.parametrize("scope", SCOPES)
def test_given_texts_are_read_behind_the_same_gates(scope):
    """Teacher forcing with the text that was generated says what generation said."""
    for one in gates("llama"):
        how = gated(one, scope=scope, alpha=3.0)
        requests = [Request(prompt, 6, how) for prompt in PROMPTS]
        found = answers(ReferenceEngine, "llama", requests, batch_size=4)
        texts = [
            GivenText((*request.prompt_ids, *generation.token_ids), len(request.prompt_ids))
            for request, generation in zip(requests, found, strict=True)
            if generation.token_ids
        ]
        for index, forced in forced_logits(loaded_model("llama"), texts, how):
            assert tuple(forced.steered.argmax(-1).tolist()) == texts[index].generated


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="behind a steered one"):
        gated(gate("llama", layer=2), band=(1, 2))
    with pytest.raises(ValueError, match="whose strength is constant"):
        dataclasses.replace(gated(gate("llama")), beside=(steering(),))
    with pytest.raises(ValueError, match="and no gate"):
        dataclasses.replace(steering(), beside=(gated(gate("llama")),))
    with pytest.raises(ValueError, match="whose strength is constant"):
        dataclasses.replace(steering(dac=Dac(0.5, 0.8, 3.0, 2.0)), gate=gate("llama"))
