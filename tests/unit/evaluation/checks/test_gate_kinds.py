"""The gate and steering that is not of the whole residual stream, in the slots engine.

Right hooks of attention heads and of ActAdd pass there, and broken ones are refused.
"""

import dataclasses

import pytest
import torch

from snakesteer.config import SteeringConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.slots import decode, engine, parts
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.slots.head_rows import HeadHooks, HeadRows
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.gate_cases import gate_cases
from snakesteer.evaluation.checks.zero_steering import check_zero_steering
from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.heads import Heads
from snakesteer.steering.candidate import ALL_LAYERS
from snakesteer.steering.vector import HeadVector, Vector
from tests.loaded_models import direction, loaded_model, prompt_ids
from tests.tiny_models import HIDDEN, NUM_LAYERS, tiny_model

NEW_TOKENS = 4
POSITIONS = 3
LONG = max(map(len, prompt_ids()))  # the prompt that effects are measured with


def head_vectors():
    """Two steps, which differ; a layer without a steered head."""
    delta = torch.randn(2, NUM_LAYERS, HIDDEN, generator=torch.Generator().manual_seed(0))
    delta[:, 1] = 0.0
    return {
        (method, ALL_LAYERS): HeadVector(method, delta.numpy(), torch.ones(NUM_LAYERS).numpy())
        for method in ("dac_heads", "iti")
    }


def start_vectors(positions=POSITIONS):
    rows = torch.stack([direction(n) for n in range(positions)])
    return {("actadd", layer): Vector("actadd", layer, rows.numpy(), 10.0) for layer in (1, 2)}


def gate(vectors, loaded=None, **config):
    loaded = loaded or loaded_model("llama")
    prompts = prompt_ids()
    settings = SteeringConfig(strength=[0.0, 0.7], **config)
    return check_zero_steering(
        lambda compiled: SlotsEngine(
            loaded, Decoding(), 5, compiled, shared_prefix=prompts[-1][: POSITIONS + 4]
        ),
        loaded,
        {f"problem-{n}": Request(ids, NEW_TOKENS) for n, ids in enumerate(prompts)},
        gate_cases(settings, (1, 2), vectors),
    )


def heads_gate(loaded=None, schedule="dynamic"):
    methods = ["dac_heads", "iti"]
    return gate(head_vectors(), loaded, methods=methods, heads_schedule=schedule)


def start_gate(loaded=None, positions=POSITIONS):
    prompts = ("Think.", "Guess.")
    return gate(start_vectors(positions), loaded, methods=["actadd"], actadd_prompts=prompts)


def in_dtype(family, dtype):
    if dtype == torch.float32:
        return loaded_model(family)
    model = tiny_model(family).to(dtype)
    return dataclasses.replace(
        loaded_model(family), model=model, blocks=decoder_blocks(model), dtype=dtype
    )


def passes(record):
    return all(
        kind["tokens_equal"]
        and kind["max_logit_difference"] == 0.0
        and kind.get("max_error_in_roundings", 0.0) <= 1.0
        for kind in record.values()
    )


@pytest.mark.parametrize("schedule", ["dynamic", "fixed", "start", "diminishing"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_attention_heads_in_slots_pass(family, dtype, schedule):
    record = heads_gate(in_dtype(family, dtype), schedule)
    assert passes(record)
    steered = {"dynamic": 2 * NEW_TOKENS, "fixed": NEW_TOKENS, "start": 1, "diminishing": 2}
    assert record["dac_heads"]["places_steered"] == steered[schedule] * (NUM_LAYERS - 1)
    assert record["iti"]["places_steered"] == NEW_TOKENS * (NUM_LAYERS - 1)


@pytest.mark.parametrize("positions", [POSITIONS, POSITIONS + 9, LONG, LONG + 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_actadd_in_slots_passes(dtype, positions):
    """Within the shared prefix, behind it, and up to the last prompt token."""
    record = start_gate(in_dtype("llama", dtype), positions)
    assert passes(record)
    assert record["actadd"]["places_steered"] == min(positions, LONG)


def refused_heads():
    with pytest.raises(UserError) as error:
        heads_gate()
    return str(error.value)


def test_heads_that_get_twice_as_much(monkeypatch):
    right = HeadRows.steer
    monkeypatch.setattr(HeadRows, "steer", lambda rows, scale, step: right(rows, 2 * scale, step))
    assert "the factor: what is added is 2 times what was asked for" in refused_heads()


def test_heads_that_get_the_next_steps_vectors(monkeypatch):
    right = HeadRows.steer
    monkeypatch.setattr(HeadRows, "steer", lambda rows, scale, step: right(rows, scale, step + 1))
    assert "what is added is not α·v" in refused_heads()


def test_heads_that_get_nothing(monkeypatch):
    monkeypatch.setattr(HeadRows, "steer", lambda *_: None)
    assert "the hook does nothing" in refused_heads()


def test_heads_that_are_changed_in_place(monkeypatch):
    def hook(hooks, layer):
        def change(_module, inputs):
            if hooks.added(layer) is not None:
                inputs[0].add_(hooks.added(layer)[:, None])

        return change

    monkeypatch.setattr(HeadHooks, "_hook", hook)
    assert "the heads' output in block 0 is edited in place" in refused_heads()


def test_heads_of_another_block(monkeypatch):
    right = engine.known_heads

    def shifted(loaded):
        found = right(loaded)
        return Heads(found.projections[1:] + found.projections[:1], found.number, found.head_dim)

    monkeypatch.setattr(engine, "known_heads", shifted)
    assert "the wrong layer" in refused_heads()


@pytest.mark.parametrize("steered", ["unsteered", "real"])
def test_a_stream_of_heads_that_is_steered_as_another(monkeypatch, steered):
    """The strength α_t depends on streams that no answer shows."""
    right = decode.SlotDecoder._pass

    def wrong(decoder, stream, cache, used, scale):
        if stream == steered and decoder.capacity.dynamic:
            scale = decoder.dynamic.probe_alpha
        return right(decoder, stream, cache, used, scale)

    monkeypatch.setattr(decode.SlotDecoder, "_pass", wrong)
    assert "dac_heads" in refused_heads()


def refused_start(positions=POSITIONS):
    with pytest.raises(UserError) as error:
        start_gate(positions=positions)
    return str(error.value)


@pytest.mark.parametrize("shift", [-1, 1])
def test_actadd_at_another_position(monkeypatch, shift):
    right = Prefill._steer_start
    monkeypatch.setattr(
        Prefill, "_steer_start", lambda p, one, start, n: right(p, one, max(0, start + shift), n)
    )
    assert "actadd" in refused_start(POSITIONS + 9)


def test_actadd_that_stops_at_the_shared_prefix(monkeypatch):
    right = Prefill._steer_start

    def stopping(prefill, one, start, length):
        prefill.steering.clear()
        if start == 0:
            right(prefill, one, start, length)

    monkeypatch.setattr(Prefill, "_steer_start", stopping)
    assert "the wrong positions are steered" in refused_start(POSITIONS + 9)
    assert passes(start_gate())  # nothing is behind it there


def test_actadd_that_forgets_the_last_prompt_token(monkeypatch):
    monkeypatch.setattr(parts, "_at_last", lambda *_: None)
    assert "actadd at α = " in refused_start(LONG)
    assert passes(start_gate(positions=LONG - 1))  # it gets nothing there
