"""What a row computes depends on its own request and on the number of slots, down to the bit."""

import copy
import dataclasses
import functools
from typing import get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snakesteer.config import Scope
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.slots.lane import Lane
from snakesteer.models.blocks import decoder_blocks
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from tests.loaded_models import TOKENS, axis_for, direction, loaded_model, prompt_ids
from tests.tiny_models import HIDDEN, NUM_LAYERS

SLOTS = 8
SCOPES = get_args(Scope)
SHOTS = "Q: 1+1? A: 2. Q: 2+3? A: 5. "
PROMPTS = prompt_ids([SHOTS + text for text in ("4+4?", "Tom has 9 apples.", "7", "x" * 60)])
SHARED = PROMPTS[0][: len(prompt_ids([SHOTS])[0]) - 1]
DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=3.0, probe_alpha=2.0)
DTYPES = (torch.float32, torch.bfloat16)
KINDS = ("llama", "gemma2", "gpt2", "gpt_neo", "falcon-rw", "mixtral")
DELTA = 0.6 * torch.randn(3, NUM_LAYERS, HIDDEN, generator=torch.Generator().manual_seed(0))
ALL_LAYERS = tuple(range(NUM_LAYERS))
START = torch.randn(70, HIDDEN, generator=torch.Generator().manual_seed(1))
SCHEDULES = ("fixed", "start", "diminishing", "dynamic")


def heads(schedule, alpha, after="hold", layers=ALL_LAYERS):
    delta = DELTA[:, list(layers)]
    dac = DAC if schedule == "dynamic" else None
    return HeadSteering(layers, delta, alpha, schedule, after, dac)


def start(length, alpha, layer=1):
    return PromptStartSteering(layer, START[:length], alpha)


@functools.cache
def loaded_in(family, dtype):
    loaded = loaded_model(family)
    if dtype == torch.float32:
        return loaded
    model = copy.deepcopy(loaded.model).to(dtype)
    return dataclasses.replace(loaded, model=model, blocks=decoder_blocks(model), dtype=dtype)


class Recorder(SlotsEngine):
    """Keeps the logits of every token that a request gets."""

    def generate(self, requests):
        self.seen = {index: [] for index in range(len(requests))}
        advance = Lane.advance

        def advancing(lane, *arguments):
            live = list(lane.scheduler.live)
            ended = advance(lane, *arguments)
            for one in live:
                self.seen[one.ticket].append(lane.decoder.last_logits[one.slot])
            return ended

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lane, "advance", advancing)
            return super().generate(requests)

    def _decoder(self, capacity):
        decoder = super()._decoder(capacity)
        logits = decoder.logits

        def keep(*arguments):
            decoder.last_logits = logits(*arguments).clone()
            return decoder.last_logits

        decoder.logits = keep
        return decoder


@functools.cache
def engine_for(family, dtype, number=SLOTS):
    return Recorder(loaded_in(family, dtype), Decoding(), number, shared_prefix=SHARED)


def record(family, dtype, requests, number=SLOTS):
    """For every request its generation and the logits behind each of its tokens."""
    engine = engine_for(family, dtype, number)
    generations = engine.generate(requests)
    return [(g, torch.stack(engine.seen[index])) for index, g in enumerate(generations)]


def equal(one, other):
    """The same tokens from the same bits; a model that a strength broke has no numbers in both."""
    same = one[0] == other[0] and one[1].shape == other[1].shape
    return same and torch.allclose(one[1], other[1], rtol=0.0, atol=0.0, equal_nan=True)


def steerings():
    caa = st.builds(
        lambda layer, alpha, scope, seed: ResidualSteering(
            layer,
            direction(seed),
            alpha,
            scope,
            2 if scope == "first_k" else None,
            window=(1, 4) if "window" in scope else None,
            tokens=TOKENS if seed else (7, 30, "e"),
        ),
        st.integers(0, NUM_LAYERS - 1),
        st.sampled_from([-1.0, 0.5, 3.0, 1e30]),
        st.sampled_from([scope for scope in SCOPES if scope != "last_prompt_token"]),
        st.integers(0, 3),
    )
    dac = st.builds(
        lambda layer: ResidualSteering(layer, direction(), 1.0, dac=DAC), st.integers(0, 3)
    )
    band = st.builds(
        lambda operator, alpha, scope: ResidualSteering(
            *(0, direction(1), alpha, scope),
            operator=operator,
            more=(Place(2, direction(2), alpha, axis_for(operator, 2)),),
            axis=axis_for(operator, 1),
        ),
        st.sampled_from(OPERATORS),
        st.sampled_from([-0.7, 0.5]),
        st.sampled_from(["from_last_prompt_token", "all"]),
    )
    several = st.builds(
        lambda first, second: dataclasses.replace(first, beside=(second,)),
        st.one_of(caa, band),
        caa,
    )
    of_heads = st.builds(
        heads,
        st.sampled_from(SCHEDULES),
        st.sampled_from([-2.0, 1.0, 1e30]),
        st.sampled_from(["zero", "hold", "mean"]),
        st.sampled_from([ALL_LAYERS, (2, 3)]),
    )
    # Within the shared prefix, beyond it, and up to the last prompt token.
    lengths = st.sampled_from([2, len(SHARED) + 2, *map(len, PROMPTS[:3])])
    starts = st.builds(start, lengths, st.sampled_from([-1.0, 2.0, 1e30]), st.integers(0, 3))
    return st.one_of(st.none(), caa, dac, band, several, of_heads, starts)


def requests(limit=12):
    return st.lists(
        st.builds(Request, st.sampled_from(PROMPTS), st.integers(1, limit), steerings()),
        min_size=0,
        max_size=12,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", KINDS)
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_neighbours_and_order_change_no_bit(family, dtype, data):
    watched = [Request(PROMPTS[1], 6, data.draw(steerings())), Request(PROMPTS[3], 8)]
    first = [*watched, *data.draw(requests())]
    wanted = record(family, dtype, first)[:2]
    second = [*data.draw(requests()), *watched]
    order = data.draw(st.permutations(range(len(second))))
    results = record(family, dtype, [second[index] for index in order])
    for index, one in enumerate(wanted):
        again = results[order.index(len(second) - 2 + index)]
        assert equal(again, one)
        assert again[0].alpha_t == one[0].alpha_t


def at_zero(scope):
    return ResidualSteering(2, direction(), 0.0, scope, 2, window=(1, 4), tokens=TOKENS)


def zero_steerings():
    scopes = ("from_last_prompt_token", "all")
    zeros = [at_zero(scope) for scope in SCOPES]
    bands = [
        ResidualSteering(
            *(1, direction(), 0.0, scope),
            operator=operator,
            more=(Place(3, direction(), 0.0, axis_for(operator)),),
            axis=axis_for(operator),
        )
        for operator in OPERATORS
        for scope in scopes
    ]
    bands += [dataclasses.replace(bands[0], beside=(one,)) for one in bands[1:]]
    others = [heads(schedule, 0.0) for schedule in SCHEDULES]
    others += [start(length, 0.0) for length in (2, 70)]
    return [*zeros, *bands, *others, ResidualSteering(1, direction(), 0.0, dac=DAC)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [*KINDS, "qwen2", "opt"])
def test_zero_strength_is_the_unsteered_model(family, dtype):
    unsteered = [Request(prompt, 20) for prompt in PROMPTS]
    zeros = [Request(p, 20, zero) for zero in zero_steerings() for p in PROMPTS]
    strong = (ResidualSteering(1, direction(), 2.0), heads("fixed", 2.0), start(len(SHARED), 2.0))
    other = [Request(p, 20, one) for one in strong for p in PROMPTS]
    results = record(family, dtype, [*unsteered, *other, *zeros])
    baseline = results[: len(unsteered)]
    for index, result in enumerate(results[len(unsteered) + len(other) :]):
        assert equal(result, baseline[index % len(baseline)])
    # The comparison can fail: steering does change logits.
    for number in range(len(unsteered), len(unsteered) + len(other), len(PROMPTS)):
        assert not equal(results[number], baseline[0])
    for again, one in zip(record(family, dtype, unsteered), baseline, strict=True):
        assert equal(again, one)


def test_bfloat16_stays_near_float32():
    exact = record("llama", torch.float32, [Request(p, 1) for p in PROMPTS])
    rounded = record("llama", torch.bfloat16, [Request(p, 1) for p in PROMPTS])
    for (_, wanted), (_, got) in zip(exact, rounded, strict=True):
        assert (got.float() - wanted).norm() < 0.1 * wanted.norm()
