"""Doses of strengths in nats: the search for them, and with a model what was asked for."""

import math

import numpy as np
import optuna
import pytest

from snakesteer.config import PromptConfig, SteeringConfig
from snakesteer.data.prompts import Prompter
from snakesteer.engine.reference.forced import FORCED_TOKENS
from snakesteer.errors import UserError
from snakesteer.evaluation.kl_strengths import (
    LAST_DOSE,
    SOLUTION_TOKENS,
    TEXTS,
    calibration_texts,
    doses_at,
    kl_strengths,
)
from snakesteer.evaluation.token_kl import TokenKl
from snakesteer.steering.build import steering_of
from snakesteer.steering.kl_unit import curves_of
from snakesteer.steering.space import suggest
from snakesteer.steering.vector import Vector
from tests.loaded_models import direction, loaded_model
from tests.tiny_models import tiny_tokenizer
from tests.unit.evaluation.test_final import PROBLEMS

LAYERS = (1, 2)
LOADED = loaded_model("llama")
PROMPTER = Prompter(PromptConfig(shots=0), (), tiny_tokenizer())
VECTORS = {("caa", layer): Vector("caa", layer, direction(layer).numpy(), 3.0) for layer in LAYERS}


def counted(kl):
    """A function that notes the doses that it was asked for."""
    asked = []

    def wrapped(dose):
        asked.append(dose)
        return kl(dose)

    return wrapped, asked


def test_doses_where_the_kl_goes_with_the_square():
    kl, asked = counted(lambda dose: 5.0 * dose * dose)
    nats = [0.01, 0.04, 0.1]
    found = doses_at(kl, nats, "it")
    for (dose, measured), wanted in zip(found, nats, strict=True):
        assert measured == 5.0 * dose * dose == pytest.approx(wanted, rel=0.01)
    assert len(asked) < 16
    assert 0.0 not in asked


def test_a_curve_that_falls_again_is_crossed_first():
    # Up to 0.3 at a dose of 0.16, down again, and up for good.
    kl, asked = counted(lambda dose: 0.3 * math.sin(10 * dose) ** 2 + (dose > 2.0) * dose)
    found = doses_at(kl, [0.1, 0.25], "it")
    for (dose, _), wanted in zip(found, (0.1, 0.25), strict=True):
        assert dose == pytest.approx(math.asin(math.sqrt(wanted / 0.3)) / 10, rel=0.02)
    assert max(asked) < 0.5


def test_where_it_leaps_the_dose_below_counts():
    kl, _ = counted(lambda dose: dose * dose if dose < 0.3 else math.inf)
    [(small, _), (large, at_large)] = doses_at(kl, [0.04, 0.5], "it")
    assert small == pytest.approx(0.2, rel=0.01)
    assert 0.299 < large < 0.3
    assert at_large == large * large


def test_doses_never_fall(tmp_path):
    # Within one bracket the KL wobbles.
    kl, _ = counted(lambda dose: dose * dose * (1.2 + math.cos(60 * dose)))
    found = doses_at(kl, [0.01, 0.02, 0.04, 0.08], "it")
    doses = [dose for dose, _ in found]
    assert doses == sorted(doses)
    assert [kl for _, kl in found] == pytest.approx([0.01, 0.02, 0.04, 0.08], rel=0.01)


def test_what_never_goes_so_far_is_told():
    with pytest.raises(UserError, match=r"asks for 0\.5 nats, but the clamp makes 0\.2 at a dose"):
        doses_at(lambda dose: min(dose * dose, 0.2), [0.1, 0.5], "the clamp")
    kl, asked = counted(lambda dose: 0.0)
    with pytest.raises(UserError, match="makes 0 at a dose of 10"):
        doses_at(kl, [0.1], "it")
    assert max(asked) == LAST_DOSE


def test_what_never_goes_so_little_is_told():
    # As clamping does: a dose of 0 is off, and any other takes a component away.
    with pytest.raises(UserError, match=r"it makes more than 0\.1 nats at any dose"):
        doses_at(lambda dose: 0.3 + dose, [0.1, 0.5], "it")


def test_texts_are_train_prompts_with_their_solutions():
    texts = calibration_texts(PROMPTER, PROBLEMS, context=None)
    assert len(texts) == min(TEXTS, len(PROBLEMS))
    for text, problem in zip(texts, PROBLEMS, strict=False):
        prompt = PROMPTER.ids(problem.question)
        assert text.token_ids[: text.prompt_tokens] == prompt[: text.prompt_tokens]
        assert len(prompt) - text.prompt_tokens <= 1  # where a token joins both
        assert 0 < len(text.generated) <= SOLUTION_TOKENS
    short = calibration_texts(
        PROMPTER, PROBLEMS, context=len(PROMPTER.ids(PROBLEMS[0].question)) + 3
    )
    assert len(short[0].token_ids) <= len(PROMPTER.ids(PROBLEMS[0].question)) + 3


SPACES = {
    "caa and dac": {"methods": ["caa", "dac"], "strength": (-0.02, 0.05)},
    "operators": {
        "methods": ["caa"],
        "operators": ["norm_preserving", "ablate"],
        "strength": (0.0, 0.01),
    },
    "a band": {"methods": ["caa"], "band": 2, "strength": (0.0, 0.05)},
    "all positions": {"methods": ["caa"], "scope": "all", "strength": (0.0, 0.05)},
}


@pytest.mark.parametrize("name", SPACES)
def test_what_is_chosen_by_nats_has_them(name):
    space = SteeringConfig(directions=["caa"], unit="kl", **SPACES[name])
    texts = calibration_texts(PROMPTER, PROBLEMS, context=None)
    record = kl_strengths(LOADED, texts, space, LAYERS, VECTORS)
    assert (record["quantile"], record["texts"]) == (0.95, len(texts))
    sides = [sign for sign, end in ((1, space.strength[1]), (-1, space.strength[0])) if end]
    places = 1 if space.band > 1 else len(LAYERS)
    ways = len(space.methods) * len(space.operators) if "operators" in name else len(space.methods)
    assert len(record["curves"]) == places * ways * len(sides)
    curves, measured = curves_of(record), TokenKl(LOADED, texts, FORCED_TOKENS)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    for _ in range(12):
        trial = study.ask()
        candidate = suggest(trial, space, LAYERS, VECTORS, curves)
        study.tell(trial, 0.0)
        steering = steering_of(candidate, VECTORS)
        if steering.dac is not None:
            steering = steering.at_constant(1.0)
        tokens = np.concatenate(measured.by_text(steering))
        # Exactly at the nodes, and near it between them.
        assert np.quantile(tokens, 0.95) == pytest.approx(abs(candidate.nats), rel=0.15)
        assert math.copysign(1.0, candidate.nats) == math.copysign(1.0, candidate.dose)
    for one in record["curves"]:
        assert one["measured"] == pytest.approx(one["nats"], rel=0.01)
        assert all((alpha > 0) == (one["sign"] > 0) for alpha in one["alphas"])
        assert one["doses"] == sorted(one["doses"])


def test_a_dynamic_strength_is_not_measured_again(monkeypatch):
    """At α_t = 1 it is what caa does from the last prompt token on."""
    texts = calibration_texts(PROMPTER, PROBLEMS, context=None)
    counts, found = {}, {}
    for methods in (["caa"], ["dac"], ["caa", "dac"]):
        passes = []
        real = TokenKl.quantile
        monkeypatch.setattr(TokenKl, "quantile", lambda *a, r=real, p=passes: p.append(1) or r(*a))
        space = SteeringConfig(directions=["caa"], methods=methods, unit="kl", strength=(0.0, 0.05))
        found[tuple(methods)] = kl_strengths(LOADED, texts, space, LAYERS, VECTORS)["curves"]
        counts[tuple(methods)] = len(passes)
        monkeypatch.undo()
    assert counts["caa", "dac"] == counts["caa",] == counts["dac",] > 0
    assert found["caa", "dac"] == found["caa",] + found["dac",]


def test_texts_that_a_scope_does_not_reach_have_no_doses(monkeypatch):
    monkeypatch.setattr(TokenKl, "quantile", pytest.fail)
    texts = calibration_texts(PROMPTER, PROBLEMS, context=None)
    window = {"scope": "generated_window", "generated_window": (SOLUTION_TOKENS, 60)}
    space = SteeringConfig(directions=["caa"], methods=["caa"], unit="kl", **window)
    with pytest.raises(UserError, match="steers none of the tokens on which doses are found"):
        kl_strengths(LOADED, texts, space, LAYERS, VECTORS)
