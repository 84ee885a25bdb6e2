"""Head steering equals one that recomputes the whole text at every step, written from the paper.

The slow way has no KV cache, no padding, no batch and hooks of its own: every pass reads the whole
text with α_i·Δ[i] at position P−1+i, at all steered layers. Its α_i is computed in numpy.
"""

import dataclasses
from operator import attrgetter

import numpy as np
import pytest
import torch

from snakesteer.engine.batching import alike
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference import dac as reference_dac
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.errors import UserError
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model, prompt_ids
from tests.numpy_dac import numpy_alpha
from tests.tiny_models import EOS, NUM_LAYERS

FAMILIES = ("llama", "gpt2", "gpt_neox")
PROJECTIONS = {
    "llama": ("model.layers", "self_attn.o_proj"),
    "gpt2": ("transformer.h", "attn.c_proj"),
    "gpt_neox": ("gpt_neox.layers", "attention.dense"),
}
ALL_LAYERS = tuple(range(NUM_LAYERS))
STEPS = 4
DELTA = 0.6 * torch.randn(STEPS, NUM_LAYERS, 32, generator=torch.Generator().manual_seed(0))
DAC = Dac(entropy_threshold=-1.0, ptop=0.6, max_alpha=2.0, probe_alpha=2.0)


def run(family, requests, batch_size=4):
    engine = ReferenceEngine(loaded_model(family), Decoding(), batch_size)
    return [generation.token_ids for generation in engine.generate(requests)]


def requests_of(how, new=10):
    return [Request(prompt, new + row, how) for row, prompt in enumerate(prompt_ids())]


@torch.no_grad()
def slow_logits(family, ids, added):
    """Next-token logits with ``added[layer]`` ``[seq, width]`` before that layer's projection."""
    model, handles = loaded_model(family).model, []
    for layer, rows in added.items():
        blocks, projection = PROJECTIONS[family]
        module = attrgetter(projection)(attrgetter(blocks)(model)[layer])
        handles.append(module.register_forward_pre_hook(lambda _m, x, rows=rows: (x[0] + rows,)))
    try:
        return model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()


def slow_generate(family, request):
    """Generated ids, and the strength at every step."""
    how = request.steering
    ids, factors = list(request.prompt_ids), []
    prompt = len(ids)

    def delta(step, index):
        if step < len(how.delta):
            return how.delta[step, index]
        past = {"zero": 0.0, "hold": how.delta[-1, index], "mean": how.delta[:, index].mean(0)}
        return past[how.after] * torch.ones(32)

    def logits(strengths):
        added = {}
        for index, layer in enumerate(how.layers):
            rows = [torch.zeros(32)] * (prompt - 1)
            rows += [strength * delta(i, index) for i, strength in enumerate(strengths)]
            added[layer] = torch.stack(rows)
        return slow_logits(family, ids, added)

    for step in range(request.max_new_tokens):
        if how.schedule == "dynamic":
            p = logits([0.0] * (step + 1)).numpy()
            q = logits([how.dac.probe_alpha] * (step + 1)).numpy()
            limits = how.dac.ptop, how.dac.max_alpha, how.dac.entropy_threshold
            alpha, _ = numpy_alpha(p, q, *limits, how.dac.kl == "per_token")
        else:
            m = len(how.delta)
            shape = {"fixed": 1.0, "start": float(step == 0), "diminishing": max(0, 1 - step / m)}
            alpha = shape[how.schedule]
        factors.append(how.alpha * alpha)
        ids.append(int(logits(factors).argmax()))
        if ids[-1] == EOS:
            return tuple(ids[prompt:-1]), factors
    return tuple(ids[prompt:]), factors


@pytest.fixture
def strengths(monkeypatch):
    """Every α of the dynamic loop, ``[calls][rows]``."""
    seen, real = [], reference_dac.dynamic_alpha

    def spy(*args):
        seen.append(real(*args))
        return seen[-1]

    monkeypatch.setattr(reference_dac, "dynamic_alpha", spy)
    return seen


@pytest.mark.parametrize("after", ["zero", "hold", "mean"])
@pytest.mark.parametrize("kl", ["true_kl", "per_token"])
@pytest.mark.parametrize("family", FAMILIES)
def test_dynamic_strength_equals_a_computation_without_cache(family, kl, after, strengths):
    dac = dataclasses.replace(DAC, kl=kl)
    how = HeadSteering(ALL_LAYERS, DELTA, 1.5, "dynamic", after, dac)
    requests = requests_of(how)
    slow = [slow_generate(family, request) for request in requests]
    generations = ReferenceEngine(loaded_model(family), Decoding(), 4).generate(requests)
    assert [generation.token_ids for generation in generations] == [ids for ids, _ in slow]
    for row, (_, factors) in enumerate(slow):
        assert generations[row].alpha_t == pytest.approx(np.mean(factors) / 1.5, abs=1e-3)
        found = [1.5 * float(call[row]) for call in strengths[: len(factors)]]
        np.testing.assert_allclose(found, factors, rtol=5e-3, atol=1e-4)
    # The strengths that were compared say something.
    every = np.concatenate([factors for _, factors in slow])
    assert len(np.unique(every.round(3))) >= 5
    plain = run(family, [dataclasses.replace(r, steering=None) for r in requests])
    assert plain != run(family, requests)


@pytest.mark.parametrize("after", ["zero", "mean"])
@pytest.mark.parametrize("schedule", ["fixed", "start", "diminishing"])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_schedules_equal_a_computation_without_cache(family, schedule, after):
    how = HeadSteering(ALL_LAYERS, DELTA, -2.0, schedule, after)
    requests = requests_of(how)
    expected = [slow_generate(family, request)[0] for request in requests]
    assert run(family, requests) == expected
    assert run(family, requests, batch_size=1) == expected
    assert expected != run(family, [dataclasses.replace(r, steering=None) for r in requests])


def test_some_layers_and_vectors_that_do_not_change_in_time():
    """As in ITI: one step, which is held."""
    how = HeadSteering((0, 3), DELTA[:1, :2], 3.0)
    requests = requests_of(how)
    expected = [slow_generate("llama", request)[0] for request in requests]
    assert run("llama", requests) == expected
    every = HeadSteering((0, 3), DELTA[:1, :2].expand(40, -1, -1), 3.0, after="zero")
    assert run("llama", requests_of(every)) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_strength_of_0_gives_the_bits_of_no_steering(family, dtype):
    """Tokens and logits, for every schedule, also where rounding is coarse."""
    loaded = loaded_model.__wrapped__(family)  # of this test alone: its weights are rounded
    loaded.model.to(dtype)
    head, seen = loaded.model.get_output_embeddings(), []
    head.register_forward_hook(lambda _m, _i, logits: seen.append(logits[:, -1].clone()))
    engine = ReferenceEngine(loaded, Decoding(), 4)
    plain = engine.generate(requests_of(None))
    unsteered = list(seen)
    for schedule in ("dynamic", "fixed", "start", "diminishing"):
        seen.clear()
        dac = DAC if schedule == "dynamic" else None
        how = HeadSteering(ALL_LAYERS, DELTA, 0.0, schedule, "mean", dac)
        assert engine.generate(requests_of(how)) == plain
        # Of the three streams of the dynamic loop, the third chooses the tokens; before them
        # goes the pass that fills the other two caches.
        chosen = seen[3::3] if schedule == "dynamic" else seen
        assert len(chosen) == len(unsteered)
        assert all(torch.equal(a, b) for a, b in zip(chosen, unsteered, strict=True))


def test_where_one_token_has_all_the_mass_nothing_is_added(strengths):
    """S is one token: KL 0, and steering switches itself off, however strong it is."""
    tiny = dataclasses.replace(DAC, ptop=1e-6)
    how = HeadSteering(ALL_LAYERS, 1e-3 * DELTA, 5.0, "dynamic", dac=tiny)
    assert run("llama", requests_of(how)) == run("llama", requests_of(None))
    assert all((call == 0).all() for call in strengths)
    how = HeadSteering(ALL_LAYERS, DELTA, 5.0, "dynamic", dac=dataclasses.replace(DAC, ptop=0.9))
    strengths.clear()
    assert run("llama", requests_of(how)) != run("llama", requests_of(None))
    assert max(float(call.max()) for call in strengths) > 0.1


def test_heads_and_other_rows_in_one_call():
    kinds = [
        HeadSteering(ALL_LAYERS, DELTA, 2.0),
        None,
        HeadSteering(ALL_LAYERS, DELTA, 2.0, "dynamic", dac=DAC),
        ResidualSteering(1, direction(), 1.0),
    ]
    requests = [Request(prompt, 8, how) for prompt in prompt_ids() for how in kinds]
    answers = run("gpt2", requests)
    assert answers == [run("gpt2", [request])[0] for request in requests]
    assert len(set(answers[-4:])) >= 3


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="go with the schedule"):
        HeadSteering(ALL_LAYERS, DELTA, 1.0, "dynamic")
    with pytest.raises(ValueError, match="go with the schedule"):
        HeadSteering(ALL_LAYERS, DELTA, 1.0, dac=DAC)
    with pytest.raises(ValueError, match="is not"):
        HeadSteering((0, 1), DELTA, 1.0)
    one, other = HeadSteering(ALL_LAYERS, DELTA, 1.0), HeadSteering(ALL_LAYERS, DELTA, 2.0)
    for rows in ([one, other], [one, None]):
        with pytest.raises(ValueError, match="steered alike"):
            alike(rows)
    with pytest.raises(UserError, match="no hook point for layer 9"):
        run("llama", requests_of(HeadSteering((9,), DELTA[:, :1], 1.0)))
