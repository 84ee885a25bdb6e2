"""The gate and what is made of logits: tokens chosen by other rules are noticed, and wrong ends."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from snakesteer.engine import stopping
from snakesteer.engine.interface import Decoding, Generation, Request
from snakesteer.engine.select import make_engine
from snakesteer.engine.slots import decode
from snakesteer.engine.slots.scheduler import Ends
from snakesteer.engine.stopping import StopRule
from snakesteer.errors import UserError
from snakesteer.evaluation.checks.chosen_tokens import wrong_choice
from snakesteer.evaluation.checks.zero_steering import check_zero_steering
from tests.engine_faults import Fault
from tests.loaded_models import loaded_model, prompt_ids
from tests.unit.evaluation.checks.test_zero_steering import in_bfloat16
from tests.unit.evaluation.checks.test_zero_steering import unexamined as unexamined

GREEDY = Decoding()
SAMPLED = Decoding(temperature=1.0, top_p=0.8, top_k=20, stop=("e",))
ENDS = frozenset(range(2, 16))  # so many that some text ends with one
LONG = 24


def gate(engine: str, decoding: Decoding, dtype: torch.dtype = torch.float32):
    loaded = loaded_model("llama") if dtype == torch.float32 else in_bfloat16("llama")
    loaded = dataclasses.replace(loaded, eos_ids=ENDS)
    prompts = prompt_ids(("x", "12+4=", "The man in hat", "37-9=", "A dog", "Two of us"))
    requests = {f"problem-{n}": Request(ids, LONG, seed=n) for n, ids in enumerate(prompts)}
    return check_zero_steering(
        lambda _: make_engine(engine, loaded, decoding, batch_size=3, slots=5),
        loaded,
        requests,
        kinds=[],
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED])
@pytest.mark.parametrize("engine", ["slots", "reference"])
def test_right_choices_pass(engine: str, decoding: Decoding, dtype: torch.dtype):
    assert gate(engine, decoding, dtype)["no steering"]["tokens_equal"] is True


def other(**changes: Callable) -> Fault:
    """Tokens are chosen under other settings."""

    def fault(patch: pytest.MonkeyPatch) -> None:
        right = decode.choose

        def choose(logits, decoding, uniform=None):
            new = {name: change(getattr(decoding, name)) for name, change in changes.items()}
            return right(logits, dataclasses.replace(decoding, **new), uniform)

        patch.setattr(decode, "choose", choose)

    return fault


def numbers(change: Callable) -> Fault:
    def fault(patch: pytest.MonkeyPatch) -> None:
        right = decode.uniforms
        patch.setattr(decode, "uniforms", lambda seed, n: change(right, seed, n))

    return fault


def rule(finish: Callable) -> Fault:
    def fault(patch: pytest.MonkeyPatch) -> None:
        right = StopRule.finish
        patch.setattr(stopping.StopRule, "finish", lambda self, ids, n: finish(right, self, ids, n))

    return fault


def without(**parts: object) -> Callable:
    return lambda right, rule, ids, n: right(dataclasses.replace(rule, **parts), ids, n)


def one_late(right, rule, ids, n):
    late = len(ids) > 1 and ids[-2] in rule.eos_ids
    return "eos" if late else without(eos_ids=frozenset())(right, rule, ids, n)


CHOICES = "is not the one that its logits choose"
WRONG: dict[str, tuple[Fault, str]] = {
    "a higher temperature": (other(temperature=lambda t: 1.1 * t), CHOICES),
    "no top-p": (other(top_p=lambda _: 1.0), CHOICES),
    "less top-p": (other(top_p=lambda p: p - 0.1), CHOICES),
    "no top-k": (other(top_k=lambda _: 0), CHOICES),
    "a neighbour's seed": (numbers(lambda right, seed, n: right(seed + 1, n)), CHOICES),
    "one number for all": (numbers(lambda right, seed, n: right(seed, 1).expand(n)), CHOICES),
    "end tokens ignored": (rule(without(eos_ids=frozenset())), "goes on behind an end token"),
    "end tokens late": (rule(one_late), "in the answer to problem-"),
    "stop strings ignored": (rule(without(stop=())), "stop string"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_other_choices_are_noticed(monkeypatch: pytest.MonkeyPatch, unexamined: None, wrong: str):
    break_it, told = WRONG[wrong]
    break_it(monkeypatch)
    with pytest.raises(UserError, match=told):
        gate("slots", SAMPLED)


def test_the_second_best_token_is_noticed(monkeypatch: pytest.MonkeyPatch, unexamined: None):
    monkeypatch.setattr(decode, "choose", lambda logits, *_: logits.topk(2, dim=-1).indices[:, 1])
    with pytest.raises(UserError, match=f"in the answer to problem-0, token 0 {CHOICES}"):
        gate("slots", GREEDY)


def test_answers_that_are_cut_early_are_noticed(monkeypatch: pytest.MonkeyPatch, unexamined: None):
    right = Ends.finish
    monkeypatch.setattr(Ends, "finish", lambda ends, ids, n: right(ends, ids, n - 1))
    with pytest.raises(UserError, match=r"it ends without a reason \(length\)"):
        gate("slots", GREEDY)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Generation((5, 6), "..", "length", 2), None),
        (Generation((5,), ".", "eos", 2, end=4), "ends without a reason"),
        (Generation((5, 6), "..", "stop", 2), "ends without a reason"),
        (Generation((5, 6, 7), "...", "length", 3), "it has 3 tokens, of at most 2"),
        (
            Generation((5,) * 4, "....", "length", 4),
            "4 tokens were chosen, and 3 steps have logits",
        ),
    ],
)
def test_ends(answer: Generation, told: str | None):
    logits = [torch.zeros(9) for _ in range(3)]  # any token may be chosen
    request = Request((5,), 2)
    said = wrong_choice(loaded_model("llama"), request, Decoding(stop=("#",)), answer, logits)
    assert said is None if told is None else told in said
