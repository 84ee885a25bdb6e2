"""The gate and requests that share prompts and slots: what one of them has is not another's."""

from collections.abc import Callable, Hashable

import pytest
import torch

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.slots import lane, parts, store
from snakesteer.engine.slots.columns import StepStrengths
from snakesteer.engine.slots.decode import SlotDecoder
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.slots.head_rows import HeadRows
from snakesteer.engine.slots.rows import SteeredRows
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.zero_steering import check_zero_steering
from tests.engine_faults import Fault
from tests.loaded_models import PROMPTS, loaded_model, prompt_ids
from tests.unit.evaluation.checks.test_gate_kinds import heads_gate
from tests.unit.evaluation.checks.test_zero_steering import (
    NEW_TOKENS,
    in_bfloat16,
    refused,
    steering_config,
)
from tests.unit.evaluation.checks.test_zero_steering import unexamined as unexamined


def first_vectors_stay(patch: pytest.MonkeyPatch) -> None:
    right = SteeredRows.put

    def put(rows, at, steerings):
        right(rows, at, steerings)
        held = rows.__dict__.setdefault("held", {})
        for slot, steering in zip(at.tolist(), steerings, strict=True):
            if steering is not None:
                rows.vectors[slot] = held.setdefault(slot, rows.vectors[slot].clone())

    patch.setattr(SteeredRows, "put", put)


def nothing_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    """A request without steering leaves its slot as it was."""
    for kind in (SteeredRows, StepStrengths):
        right = kind.put

        def put(rows, at, steerings, right=right):
            steered = [n for n, one in enumerate(steerings) if one is not None]
            if steered:
                right(rows, at[steered], [steerings[n] for n in steered])

        patch.setattr(kind, "put", put)


def steps_go_on(patch: pytest.MonkeyPatch) -> None:
    right = SlotDecoder.start

    def start(decoder, starts):
        before = decoder.step.clone()
        right(decoder, starts)
        decoder.step.copy_(before)

    patch.setattr(SlotDecoder, "start", start)


def one_steered_prompt_for_all(told: Callable[[Hashable], Hashable]) -> Fault:
    def fault(patch: pytest.MonkeyPatch) -> None:
        right = parts.reading

        def reading(request):
            found = right(request)
            return None if found is None else told(found)

        for module in (store, lane):
            patch.setattr(module, "reading", reading)

    return fault


OFF_BY_ONE = "positions are off by one: steering is one before where it belongs"
MIXED_UP = "beside others is not the one that it gets alone"
# Faults of what requests share, none of which a request alone in fresh slots has; what is steered,
# and what is said of it.
SHARING: dict[str, tuple[Fault, dict, str]] = {
    "vectors of a slot's first request stay": (first_vectors_stay, {}, "what is added is not α·v"),
    "a slot's former steering stays": (
        nothing_changes_nothing,
        {},
        "no steering at α = 0: 3 of 4 prompts differ from the model without hooks",
    ),
    "steps of a slot's former request go on": (
        steps_go_on,
        {"scope": "generated_only"},
        OFF_BY_ONE,
    ),
    "one steered prompt whatever the strength": (
        one_steered_prompt_for_all(lambda found: tuple((op, p[0], p[2]) for op, p in found)),
        {"scope": "all"},
        MIXED_UP,
    ),
    "one steered prompt whatever the vector": (
        one_steered_prompt_for_all(lambda found: tuple((op, p[:2]) for op, p in found)),
        {"scope": "all"},
        MIXED_UP,
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fault", SHARING)
def test_requests_that_share_what_they_must_not(
    monkeypatch: pytest.MonkeyPatch, unexamined: None, fault: str, dtype: torch.dtype
):
    break_it, config, told = SHARING[fault]
    break_it(monkeypatch)
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    assert told in refused("slots", loaded, config=steering_config(methods=["caa"], **config))


def test_prompts_of_one_length_that_are_taken_for_each_other(
    monkeypatch: pytest.MonkeyPatch, unexamined: None
):
    """None of them is the longest one, with which all else is looked at."""
    right = store.PromptStore.take

    def take(self, prompt):
        held = self.__dict__.setdefault("held", {})
        return held.setdefault(self.prefill.width(len(prompt)), right(self, prompt))

    loaded, prompts = loaded_model("llama"), prompt_ids(("12+4=", "37-9=", PROMPTS[-1]))
    requests = {f"problem-{n}": Request(ids, NEW_TOKENS) for n, ids in enumerate(prompts)}

    def check():
        return check_zero_steering(
            lambda _: SlotsEngine(loaded, Decoding(), 5), loaded, requests, kinds=[]
        )

    assert check()["no steering"]["plain_model"]["answers"] == 3
    monkeypatch.setattr(store.PromptStore, "take", take)
    with pytest.raises(UserError, match="off the plain HuggingFace model's for problem-1 from"):
        check()


def test_the_vectors_of_other_heads(monkeypatch: pytest.MonkeyPatch):
    right = HeadRows.put
    monkeypatch.setattr(
        HeadRows,
        "put",
        lambda rows, at, steerings: right(rows, at, [(one, 0) for one, _ in steerings]),
    )
    with pytest.raises(UserError, match=MIXED_UP):
        heads_gate()
