"""KL per token for many steerings of one model, beside an engine at work."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from snakesteer.config import PromptConfig
from snakesteer.data.neutral import read_passages
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.errors import UserError
from snakesteer.evaluation.off_target import text_costs
from snakesteer.evaluation.token_kl import (
    START_TOKENS,
    TEXT_TOKENS,
    TokenKl,
    neutral_kl,
    neutral_texts,
)
from snakesteer.records.code_files import PACKAGE
from snakesteer.steering.dac import Dac
from snakesteer.steering.gates import Gate
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model
from tests.tiny_models import HIDDEN, tiny_tokenizer

ASSETS = PACKAGE / "data" / "assets"
SEARCHED = ASSETS / "neutral_search.txt"
PROMPTER = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
LOADED = loaded_model("llama")
TEXTS = neutral_texts(PROMPTER, read_passages(SEARCHED)[:5], context=None)
STEADY = ResidualSteering(1, direction(), 2.0)
DYNAMIC = ResidualSteering(2, direction(1), 1.5, dac=Dac(0.0, 0.9, 3.0, 3.0))
HEADS = HeadSteering((1, 2), torch.linspace(-1.0, 1.0, 3 * 2 * HIDDEN).view(3, 2, HIDDEN), 0.5)
STEERINGS = (
    STEADY,
    DYNAMIC,
    HEADS,
    STEADY.off,
    ResidualSteering(0, direction(2), -1.0, scope="all"),
)


def test_search_and_report_read_other_passages():
    searched, reported = read_passages(SEARCHED), read_passages(ASSETS / "neutral.txt")
    assert len(searched) == len({*searched}) == 16
    assert not {*searched} & {*reported}
    assert not {text[:20] for text in searched} & {text[:20] for text in reported}
    assert all(30 < len(passage.split()) <= 100 for passage in searched)
    assert all(passage.isascii() and "\n" not in passage for passage in searched)
    assert not any(character.isdigit() for passage in searched for character in passage)


def test_every_steering_has_the_kl_that_it_has_alone():
    found = TokenKl(LOADED, TEXTS)
    for steering in (*STEERINGS, *STEERINGS):  # the second time with what is known by then
        costs = text_costs(LOADED, TEXTS, steering)
        tokens = found.by_text(steering)
        assert [len(text) for text in tokens] == [cost.tokens for cost in costs]
        assert [text.mean() for text in tokens] == pytest.approx([cost.kl for cost in costs])
        assert found.mean(steering) == pytest.approx(np.mean([cost.kl for cost in costs]))
        everything = np.concatenate(tokens)
        assert found.quantile(steering, 0.95) == np.quantile(everything, 0.95)
    assert found.mean(STEADY.off) == found.quantile(DYNAMIC.off, 0.95) == 0.0


def test_no_steering_is_read_once(monkeypatch):
    found, passes = TokenKl(LOADED, TEXTS), []
    found._loaded.model.register_forward_hook(lambda *_: passes.append(1))
    counts = []
    for _ in range(3):
        passes.clear()
        found.mean(STEADY)
        counts.append(len(passes))
    assert counts[0] == 2 * counts[1] == 2 * counts[2]


def test_numbers_that_break_are_not_finite():
    broken = ResidualSteering(1, direction() * torch.inf, 1.0)
    assert not math.isfinite(TokenKl(LOADED, TEXTS).mean(broken))


def test_an_engine_at_work_is_left_alone_and_leaves_it_alone():
    requests = [Request((5, 9, 3, 7, number), 6, STEADY) for number in range(10, 22)]
    engine = SlotsEngine(LOADED, Decoding(), 4)
    alone = engine.generate(requests)
    found = TokenKl(LOADED, TEXTS)
    wanted = [found.mean(steering) for steering in STEERINGS]
    answers = {}
    with engine.session() as session:
        tickets = session.add(requests)
        for kl, steering in zip(wanted, STEERINGS, strict=True):
            answers |= dict(session.ended())
            assert found.mean(steering) == kl
        while ended := session.ended():
            answers |= dict(ended)
    assert [answers[ticket] for ticket in tickets] == alone


def test_passages_of_files():
    kl = neutral_kl(LOADED, PROMPTER, [SEARCHED])
    assert kl(STEADY) > 0.0
    assert neutral_kl(LOADED, PROMPTER, []) is None


HELD, LACKED = "e", "7"  # by the passages, which do not calculate


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        ({"scope": "at_tokens", "tokens": (HELD,)}, True),
        ({"scope": "at_tokens", "tokens": (LACKED,)}, False),
        ({"scope": "not_at_tokens", "tokens": (LACKED,)}, True),
        ({"scope": "generated_window", "window": (TEXT_TOKENS - START_TOKENS - 2, 99)}, True),
        ({"scope": "generated_window", "window": (TEXT_TOKENS - START_TOKENS - 1, 99)}, False),
        ({"scope": "outside_generated_window", "window": (0, 99)}, False),
        ({"scope": "outside_generated_window", "window": (1, 99)}, True),
    ],
)
def test_passages_that_a_scope_does_not_reach_say_nothing(scope, reached):
    kl = neutral_kl(LOADED, PROMPTER, [SEARCHED])
    steering = replace(STEADY, **scope)
    gated = replace(steering, gate=Gate(0, direction(5), "cosine", 2.0, "above", "token"))
    beside = replace(steering, beside=(STEADY,))
    shares = [cost.steered_share for cost in text_costs(LOADED, TEXTS, steering)]
    assert any(shares) == reached
    assert kl(beside) > 0.0
    if reached:
        assert kl(steering) > 0.0
        assert kl(gated) == 0.0  # which is what a gate is for
        return
    for one in (steering, gated):
        with pytest.raises(UserError, match="the scope steers none of the 16 neutral passages"):
            kl(one)
