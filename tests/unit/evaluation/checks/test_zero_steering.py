"""The zero-steering gate: right hooks pass, and every broken one that we could think of fails."""

import dataclasses
from collections.abc import Callable
from typing import get_args

import pytest
import torch

from snakesteer.config import Scope, SteeringConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference import engine as reference
from snakesteer.engine.reference import heads as reference_heads
from snakesteer.engine.reference.prompt_start import start_steered
from snakesteer.engine.select import make_engine
from snakesteer.engine.slots import engine as slots
from snakesteer.engine.slots.check import examine
from snakesteer.engine.slots.decode import SlotDecoder
from snakesteer.engine.slots.prefill import Prefill
from snakesteer.engine.slots.rows import RowSteering
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.gate_cases import gate_cases
from snakesteer.evaluation.checks.zero_steering import check_zero_steering
from snakesteer.models.blocks import decoder_blocks, on_block_outputs
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.candidate import ALL_LAYERS
from snakesteer.steering.vector import HeadVector, Vector
from tests.engine_faults import (
    FAULTS,
    Callback,
    a_tenth_too_much,
    another_vector,
    break_hook,
    constant_offset,
    does_nothing,
    in_a_tuple,
    in_place,
    one_step_late,
    promoted,
    renormalised,
    turned_round,
    twice_as_much,
)
from tests.loaded_models import axis_for, direction, loaded_model, prompt_ids
from tests.tiny_models import HIDDEN, NUM_LAYERS, tiny_model

LAYERS = (1, 2)
NEW_TOKENS = 4


def vectors():
    """One vector for each layer, and one for each layer and position."""
    raw = {("caa", layer): direction(layer) for layer in LAYERS}
    raw |= {
        ("actadd", layer): torch.stack([direction(layer + n) for n in range(POSITIONS)])
        for layer in LAYERS
    }
    return {
        key: Vector(*key, found.numpy(), 10.0, axis_for("rotate", key[1]).numpy())
        for key, found in raw.items()
    }


def steering_config(**changes) -> SteeringConfig:
    return SteeringConfig(
        **{"strength": [0.0, 0.7], "methods": ["caa", "dac"], "directions": ["caa"], **changes}
    )


def gate(
    engine: str,
    loaded: LoadedModel,
    config: SteeringConfig | None = None,
    shared_prefix: tuple[int, ...] = (),
    **arguments,
):
    """Run the gate on ragged prompts."""
    kinds = gate_cases(config or steering_config(), LAYERS, vectors())
    prompts = prompt_ids()
    return check_zero_steering(
        lambda compiled: make_engine(
            engine,
            loaded,
            Decoding(),
            batch_size=3,
            slots=5,
            compiled=compiled,
            shared_prefix=shared_prefix,
        ),
        loaded,
        {f"problem-{n}": Request(ids, NEW_TOKENS) for n, ids in enumerate(prompts)},
        kinds,
        **arguments,
    )


def in_bfloat16(family: str) -> LoadedModel:
    model = tiny_model(family).to(torch.bfloat16)
    return dataclasses.replace(
        loaded_model(family), model=model, blocks=decoder_blocks(model), dtype=torch.bfloat16
    )


@pytest.mark.parametrize("scope", get_args(Scope))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("engine", "family"),
    [("slots", "llama"), ("slots", "gpt2"), ("reference", "llama"), ("reference", "gpt_neo")],
)
def test_right_hooks_pass(engine: str, family: str, dtype: torch.dtype, scope: str):
    loaded = loaded_model(family) if dtype == torch.float32 else in_bfloat16(family)
    window = (20, 30) if "window" in scope else None  # the gate's texts are not that long
    first_k = 2 if scope == "first_k" else None
    tokens = "[A-Ma-m]" if "tokens" in scope else None
    config = steering_config(
        scope=scope, first_k=first_k, generated_window=window, at_tokens=tokens
    )
    found = gate(engine, loaded, config)
    assert set(found) == {"no steering", "caa", "dac"}
    for kind in found.values():
        assert kind["tokens_equal"] is True
        assert kind["max_logit_difference"] == 0.0
    for name in ("caa", "dac"):
        assert found[name]["max_error_in_roundings"] <= 1.0
    looked_at = found["caa"]["places_steered"] + found["caa"]["places_left_alone"]
    assert looked_at % NUM_LAYERS == 0  # every position of prompt and answer, in every block
    prompt = looked_at // NUM_LAYERS - (NEW_TOKENS - 1)
    assert prompt in map(len, prompt_ids())
    assert prompt > 10
    steered = {
        "from_last_prompt_token": NEW_TOKENS,
        "all": prompt + NEW_TOKENS - 1,
        "generated_only": NEW_TOKENS - 1,
        "last_prompt_token": 1,
        "first_k": 2,
        "generated_window": 1,
        "outside_generated_window": NEW_TOKENS - 2,
    }
    if "tokens" in scope:  # that is, at the answer's first token, which may come again
        count, generated = found["caa"]["places_steered"], NEW_TOKENS - 1
        assert 1 <= (count if scope == "at_tokens" else generated - count) <= generated
    else:
        assert found["caa"]["places_steered"] == steered[scope]
    assert found["dac"]["places_steered"] == 2 * NEW_TOKENS  # the probe stream's and the real one's


ACTADD = {"methods": ["actadd"], "actadd_prompts": ("Think.", "Guess.")}
POSITIONS = 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_actadd_passes(dtype: torch.dtype):
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    found = gate("reference", loaded, steering_config(**ACTADD))
    assert found["actadd"]["places_steered"] == POSITIONS


def test_actadd_at_a_wrong_position_is_noticed(monkeypatch: pytest.MonkeyPatch):
    def shifted(loaded, steering, mask):
        return start_steered(loaded, steering, mask * (mask.cumsum(dim=1) > 1))

    monkeypatch.setitem(reference._HOOKS, "prompt_start", shifted)
    with pytest.raises(UserError, match="position"):
        gate("reference", loaded_model("llama"), steering_config(**ACTADD))


def test_a_compiled_run_is_compared_as_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    found = gate("slots", loaded_model("llama"), compiled=True)
    assert found["caa"]["compiled_tokens_equal"] is True
    assert found["dac"]["compiled_max_logit_difference"] == 0.0


# Broken hook → what the message says of the cause.
BROKEN = {
    does_nothing: "the hook does nothing",
    twice_as_much: "2 times what was asked for",
    a_tenth_too_much: "1.1 times what was asked for",
    turned_round: "-1 times what was asked for",
    constant_offset: "from position",
    promoted: "the dtype of the output of block 1 is torch.float64, not torch.float32",
    in_a_tuple: "the type of the output of block 1 is tuple, not Tensor",
    in_place: "the output of block 1 is edited in place",
    another_vector: "what is added is not α·v",
    renormalised: "what is added is not α·v",
    one_step_late: "off by one: steering is one behind where it belongs",
}


def refused(engine: str, loaded: LoadedModel, **arguments) -> str:
    """What the gate says of an engine that it does not let pass."""
    with pytest.raises(UserError) as error:
        gate(engine, loaded, **arguments)
    return str(error.value)


FEW = ("llama", "gemma2", "gpt2", "opt")


@pytest.fixture
def unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slots engine without its own check at the start, which notices most faults, too."""
    shapes = {model: examine(loaded_model(model)) for model in FEW}
    monkeypatch.setattr(
        slots,
        "examine",
        lambda loaded, _: dataclasses.replace(
            shapes[loaded.model.config.model_type], dtype=loaded.dtype
        ),
    )


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
def test_broken_hooks_of_the_slots_engine(
    monkeypatch: pytest.MonkeyPatch, unexamined: None, broken: Callable[[Callback], Callback]
):
    break_hook(monkeypatch, broken, at=1)
    assert BROKEN[broken] in refused("slots", loaded_model("llama"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FEW)
@pytest.mark.parametrize("broken", [in_place, constant_offset], ids=lambda one: one.__name__)
def test_broken_hooks_that_only_the_gate_sees(
    monkeypatch: pytest.MonkeyPatch, unexamined: None, broken, family: str, dtype: torch.dtype
):
    loaded = loaded_model(family) if dtype == torch.float32 else in_bfloat16(family)
    break_hook(monkeypatch, broken, at=1)
    assert BROKEN[broken] in refused("slots", loaded)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.__name__)
def test_broken_hooks_of_the_reference_engine(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[Callback], Callback]
):
    right = reference._changer
    monkeypatch.setattr(reference, "_changer", lambda *rows: broken(right(*rows)))
    assert BROKEN[broken] in refused("reference", loaded_model("llama"))


# Faults that no comparison of the engine with itself shows.
UNLIKE_THE_PLAIN_MODEL = (
    "positions off by one",
    "positions of prompts off by one",
    "prompts do not see the shared prefix",
    "slots do not see the shared prefix",
    "later keys visible",
    "last key hidden",
)
# These are smaller than what rounding to bfloat16 does to a model of this size.
SMALL = ("three keys hidden", "keys of the neighbouring slot", "attention scale × 0.9")


@pytest.mark.parametrize(
    ("fault", "dtype"),
    [(fault, torch.float32) for fault in (*UNLIKE_THE_PLAIN_MODEL, *SMALL)]
    + [(fault, torch.bfloat16) for fault in UNLIKE_THE_PLAIN_MODEL],
)
def test_engines_unlike_the_plain_model(
    monkeypatch: pytest.MonkeyPatch, unexamined: None, fault: str, dtype: torch.dtype
):
    loaded = loaded_model("gemma2") if dtype == torch.float32 else in_bfloat16("gemma2")
    FAULTS[fault](monkeypatch)
    said = refused("slots", loaded, shared_prefix=prompt_ids()[-1][:3])
    assert "no steering: logits are" in said
    assert "off the plain HuggingFace model's for problem-3 from position" in said
    assert "the prompt is read otherwise" in said


def test_hooks_that_are_right_only_while_they_are_watched(
    monkeypatch: pytest.MonkeyPatch, unexamined: None
):
    right = RowSteering.set
    # Transformers leaves hooks of its own where a pass has told hidden states.
    steered = len(loaded_model("llama").blocks[0]._forward_hooks) + 1

    def set_rows(self, rows, scale, beside=()):
        watched = len(self.blocks[0]._forward_hooks) > steered
        right(self, rows, scale if watched else 0.9 * scale, beside)

    monkeypatch.setattr(RowSteering, "set", set_rows)
    said = refused("slots", loaded_model("llama"))
    assert "caa at α = 0.662: logits are" in said
    assert "no steering: logits" not in said


def test_the_plain_model_is_compared_and_recorded():
    found = gate("slots", in_bfloat16("llama"), steering_config(scope="all"))
    for name, streams in (
        ("no steering", ["real"]),
        ("caa", ["real"]),
        ("dac", ["probe", "real", "unsteered"]),
    ):
        one = found[name]["plain_model"]
        assert (one["steps"], one["streams"]) == (NEW_TOKENS, streams)
        assert one["answers"] == (4 if name == "dac" else 3)
        assert name == "no steering" or one["problem"] == "problem-3"
        number = int(one["problem"].removeprefix("problem-"))
        assert one["prompt_tokens"] == len(prompt_ids()[number])
        assert 1e-4 < one["error"] <= one["bound"] < 1.0


def test_hooks_on_another_block(monkeypatch: pytest.MonkeyPatch, unexamined: None):
    loaded = loaded_model("llama")
    right = RowSteering._hook
    monkeypatch.setattr(RowSteering, "_hook", lambda rows, layer: right(rows, layer - 1))
    said = refused("slots", loaded)
    assert "the wrong layer: the output of block 2 changed, not the output of block 1" in said
    monkeypatch.setattr(
        reference, "on_block_outputs", lambda blocks, found: on_block_outputs(blocks[1:], found)
    )
    assert "the output of block 2 changed, not" in refused("reference", loaded)


@pytest.mark.parametrize("steered", ["unsteered", "probe"])
def test_a_wrong_stream_of_dac(monkeypatch: pytest.MonkeyPatch, unexamined: None, steered: str):
    """The strength α_t depends on streams that no answer shows."""
    right = SlotDecoder._pass

    def wrong(decoder, stream, cache, used, scale):
        if stream == steered and decoder.capacity.dynamic:
            scale = 3.0 * decoder.dynamic.probe_alpha
        return right(decoder, stream, cache, used, scale)

    monkeypatch.setattr(SlotDecoder, "_pass", wrong)
    assert "dac at α" in refused("slots", loaded_model("llama"))


def test_a_prompt_that_is_steered_from_the_wrong_position(monkeypatch: pytest.MonkeyPatch):
    """Under scope `all`, the slots engine steers prompts in passes of their own."""
    monkeypatch.setattr(Prefill, "_steer", lambda prefill, *_: prefill.steering.clear())
    with pytest.raises(UserError, match="the wrong positions are steered"):
        gate("slots", loaded_model("llama"), steering_config(scope="all"))


def test_what_is_said_of_prompts(monkeypatch: pytest.MonkeyPatch, caplog):
    right = reference._changer
    broken = constant_offset
    monkeypatch.setattr(reference, "_changer", lambda *rows: broken(right(*rows)))
    said = refused("reference", loaded_model("llama"))
    assert (
        "caa at α = 0: 4 of 4 prompts differ from the model without hooks: problem-0 from" in said
    )
    assert said.count("problem-") < sum("problem-" in line for line in caplog.messages)
    assert "the output of block 1 is changed at strength 0" in said


@pytest.mark.parametrize("schedule", ["dynamic", "fixed", "start", "diminishing"])
def test_attention_heads_pass(schedule: str):
    """Their hooks sit before the output projection, and their vectors differ from step to step."""
    heads = torch.randn(2, NUM_LAYERS, HIDDEN, generator=torch.Generator().manual_seed(0))
    heads[:, 1] = 0.0  # a layer without a steered head
    found = {
        (method, ALL_LAYERS): HeadVector(method, heads.numpy(), torch.ones(NUM_LAYERS).numpy())
        for method in ("dac_heads", "iti")
    }
    config = SteeringConfig(
        methods=["dac_heads", "iti"], heads_schedule=schedule, strength=[0.0, 0.7]
    )
    loaded = loaded_model("gpt_neo")
    requests = {str(n): Request(ids, NEW_TOKENS) for n, ids in enumerate(prompt_ids())}
    record = check_zero_steering(
        lambda _: make_engine("reference", loaded, Decoding(), batch_size=3),
        loaded,
        requests,
        gate_cases(config, LAYERS, found),
    )
    steered = {"dynamic": 2 * NEW_TOKENS, "fixed": NEW_TOKENS, "start": 1, "diminishing": 2}
    assert record["dac_heads"]["places_steered"] == steered[schedule] * (NUM_LAYERS - 1)
    assert record["iti"]["places_steered"] == NEW_TOKENS * (NUM_LAYERS - 1)


def test_broken_hooks_of_attention_heads(monkeypatch: pytest.MonkeyPatch):
    delta = torch.ones(1, NUM_LAYERS, HIDDEN)
    found = {("iti", ALL_LAYERS): HeadVector("iti", delta.numpy(), torch.ones(NUM_LAYERS).numpy())}
    config = SteeringConfig(methods=["iti"], strength=[0.0, 0.7])
    loaded = loaded_model("llama")
    right = reference_heads.add_at_last
    monkeypatch.setattr(
        reference_heads, "add_at_last", lambda outputs, added: right(outputs, 2 * added)
    )
    with pytest.raises(UserError, match="2 times what was asked for"):
        check_zero_steering(
            lambda _: make_engine("reference", loaded, Decoding(), batch_size=3),
            loaded,
            {"one": Request(prompt_ids()[-1], NEW_TOKENS)},
            gate_cases(config, LAYERS, found),
        )
