"""A given text read in one pass equals what step-by-step generation and slow computations give."""

from dataclasses import replace

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference import known_prompts
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.reference.forced import GivenText, _fitting, forced_logits
from snakesteer.engine.reference.known_prompts import (
    leaves_prompts_alone,
    may_be_apart,
    tokens_apart,
)
from snakesteer.errors import UserError
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from tests.loaded_models import TOKENS, axis_for, direction, loaded_model, prompt_ids, slow_logits
from tests.numpy_dac import numpy_alpha
from tests.tiny_models import CONTEXT, FAMILIES, HIDDEN, NUM_LAYERS

DAC = Dac(entropy_threshold=0.5, ptop=0.7, max_alpha=1.5, probe_alpha=3.0)
# Steps differ; the text goes on past the last of them.
DELTA = 2.0 * torch.randn(5, 3, HIDDEN, generator=torch.Generator().manual_seed(1))
LAYERS = (0, 1, 3)
MORE = (Place(3, direction(5), -0.3),)


def heads(schedule, after="hold"):
    dac = DAC if schedule == "dynamic" else None
    return HeadSteering(LAYERS, DELTA, 2.0, schedule, after, dac)


STEERINGS = {
    **{
        scope: ResidualSteering(1, direction(), 9.0, scope)
        for scope in ("all", "from_last_prompt_token", "generated_only", "last_prompt_token")
    },
    **{
        scope: ResidualSteering(1, direction(), 9.0, scope, window=(1, 4), tokens=TOKENS)
        for scope in (
            "generated_window",
            "outside_generated_window",
            "at_tokens",
            "not_at_tokens",
        )
    },
    "first_k": ResidualSteering(1, direction(), 1.5, "first_k", 3),
    **{
        f"a band, {operator}": ResidualSteering(
            *(1, direction(), 1.5),
            operator=operator,
            more=(replace(MORE[0], axis=axis_for(operator, 5)),),
            axis=axis_for(operator),
        )
        for operator in OPERATORS
    },
    "DAC": ResidualSteering(1, direction(), 2.0, dac=DAC),
    "DAC in a band": ResidualSteering(1, direction(), 2.0, dac=DAC, more=MORE),
    **{f"heads, {name}": heads(name) for name in ("fixed", "start", "diminishing", "dynamic")},
    "heads, mean": heads("fixed", "mean"),
    "the start of the prompt": PromptStartSteering(
        1, torch.stack([direction(n) for n in range(4)]), 9.0
    ),
}
STEPS = 9


@pytest.fixture(params=["at once", "prompts apart"], autouse=True)
def way(request, monkeypatch):
    """Texts are read in one piece, or prompts that nothing steers by themselves, however short."""
    least = {"at once": 10**9, "prompts apart": 1}[request.param]
    monkeypatch.setattr(known_prompts, "WORTH_KEEPING", least)
    return request.param


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", STEERINGS)
def test_generated_texts_are_read_as_they_were_generated(family: str, name: str):
    """Read as given, a greedy text has its own tokens as the likeliest ones, all the way."""
    loaded, steering = loaded_model(family), STEERINGS[name]
    prompts = [ids for ids in prompt_ids() if len(ids) > 1]
    engine = ReferenceEngine(loaded, Decoding(), 8)
    plain, generated = (
        engine.generate([Request(ids, STEPS, way) for ids in prompts]) for way in (None, steering)
    )
    kept = [(ids, one) for ids, one in zip(prompts, generated, strict=True) if one.token_ids]
    texts = [GivenText(ids + one.token_ids, len(ids)) for ids, one in kept]
    read = dict(forced_logits(loaded, texts, steering, budget=80))
    assert len(read) == len(texts) >= 2
    for at, (_, one) in enumerate(kept):
        assert tuple(read[at].steered.argmax(dim=-1).tolist()) == one.token_ids
        if one.alpha_t is not None and one.num_tokens == len(one.token_ids):
            assert float(read[at].alpha_t.mean()) == pytest.approx(one.alpha_t, rel=1e-3)
    assert [one.token_ids for one in plain] != [one.token_ids for one in generated]


@pytest.mark.parametrize("scope", ["all", "generated_only", "first_k"])
@pytest.mark.parametrize("family", [*FAMILIES, "falcon-rw", "mixtral"])
def test_logits_equal_a_computation_without_batch_or_padding(family: str, scope: str):
    steering = ResidualSteering(1, direction(), 0.4, scope, 2 if scope == "first_k" else None)
    texts = [GivenText(ids, 3) for ids in prompt_ids()[1:]]
    for at, forced in forced_logits(loaded_model(family), texts, steering):
        text = texts[at]
        for step in range(len(text.generated)):
            ids = text.token_ids[: 3 + step]
            there = {"all": range(99), "generated_only": range(3, 99), "first_k": range(2, 4)}
            factor = torch.tensor([0.4 * (at in there[scope]) for at in range(len(ids))])
            for found, wanted in (
                (forced.steered, factor[:, None] * direction()),
                (forced.unsteered, torch.zeros(len(ids), HIDDEN)),
            ):
                slow = slow_logits(family, loaded_model(family).model, ids, 1, wanted)
                torch.testing.assert_close(found[step], slow, rtol=1e-4, atol=1e-4)


def test_the_dynamic_strength_is_that_of_plain_numpy():
    loaded, text = loaded_model("llama"), GivenText(prompt_ids()[-1], 4)
    steering = STEERINGS["DAC"]
    probe = ResidualSteering(1, direction(), DAC.probe_alpha)
    [(_, forced)], [(_, probed)] = (forced_logits(loaded, [text], one) for one in (steering, probe))
    wanted = [
        numpy_alpha(*(side[step].numpy() for side in sides), DAC.ptop, DAC.max_alpha, 0.5)[0]
        for sides in [(forced.unsteered, probed.steered)]
        for step in range(len(text.generated))
    ]
    assert len(set(wanted)) > 5
    torch.testing.assert_close(forced.alpha_t, torch.tensor(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STEERINGS)
def test_strength_0_is_the_unsteered_model_bit_for_bit(name: str):
    texts = [GivenText(ids, 2) for ids in prompt_ids()[1:]]
    for _, forced in forced_logits(loaded_model("llama"), texts, STEERINGS[name].off):
        assert torch.equal(forced.steered, forced.unsteered)


def test_texts_that_do_not_fit_are_refused():
    fits = GivenText((7,) * (CONTEXT + 1), 2)  # the last token is not read
    next(forced_logits(loaded_model("llama"), [fits], STEERINGS["all"]))
    long = GivenText((7,) * (CONTEXT + 2), 2)
    with pytest.raises(UserError, match="do not fit into the model's context"):
        next(forced_logits(loaded_model("llama"), [long], STEERINGS["all"]))
    with pytest.raises(UserError):
        next(forced_logits(loaded_model("llama"), [GivenText((7, 9999), 1)], STEERINGS["all"]))


def test_a_layer_that_the_model_lacks_is_refused():
    steering = ResidualSteering(NUM_LAYERS, direction(), 0.4)
    with pytest.raises(UserError, match="no hook point"):
        next(forced_logits(loaded_model("llama"), [GivenText((7, 8), 1)], steering))


def test_prompts_are_read_once_where_nothing_steers_them(way):
    """Few-shot examples in front of short solutions: the passes are as long as these."""
    loaded, known, lengths = loaded_model("llama"), {}, []
    texts = [GivenText((7,) * 60 + ids, 60 + len(ids) - 3) for ids in prompt_ids()[2:]]
    handle = loaded.model.register_forward_pre_hook(
        lambda _, __, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        for name in ("generated_only", "DAC", "heads, fixed", "all"):
            list(forced_logits(loaded, texts, STEERINGS[name], known=known))
    finally:
        handle.remove()
    longest = max(len(text.token_ids) for text in texts) - 1
    apart = min(text.prompt_tokens for text in texts) - 1
    short = longest - apart
    if way == "at once":
        assert lengths == [longest] * 6
    else:
        assert lengths == [apart, short, short, short, short, short, longest, longest]


def test_what_is_known_changes_nothing():
    loaded, known = loaded_model("llama"), {}
    texts = [GivenText(ids, len(ids) - 3) for ids in prompt_ids()[2:]]
    for name in (*STEERINGS, *STEERINGS):
        found = dict(forced_logits(loaded, texts, STEERINGS[name], known=known))
        for at, alone in forced_logits(loaded, texts, STEERINGS[name]):
            assert torch.equal(found[at].steered, alone.steered)
            assert torch.equal(found[at].unsteered, alone.unsteered)


def test_whose_prompts_may_be_read_apart():
    loaded = loaded_model("llama")
    left_alone = {name for name, one in STEERINGS.items() if leaves_prompts_alone(one)}
    assert set(STEERINGS) - left_alone == {"all", "the start of the prompt"}
    together = replace(STEERINGS["DAC"], dac=None, beside=(STEERINGS["all"],))
    assert not leaves_prompts_alone(together)
    assert may_be_apart(loaded, STEERINGS["DAC"])
    assert not may_be_apart(loaded, STEERINGS["all"])
    config = MambaConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, state_size=4)
    mamba = replace(loaded, model=MambaForCausalLM(config))
    assert not may_be_apart(mamba, STEERINGS["DAC"])


def test_batches_fit_into_their_budget():
    """What is read behind prompts counts once, all of a text an eighth."""
    alike = [GivenText((7,) * 110, 100) for _ in range(40)]
    odd = [GivenText((7,) * 110, 100), GivenText((7,) * 100, 3), *alike]
    assert _fitting(alike, False, 440) == (4, 0)
    assert _fitting(odd, False, 440) == (4, 0)
    apart = tokens_apart(100)
    assert _fitting(alike, True, 440) == ((32 if apart else 4), apart)
    assert _fitting(alike, True, 50) == ((3 if apart else 1), apart)
    # A text with a short prompt would have all others read as a whole.
    assert _fitting(odd, True, 200) == (1, apart)
    assert _fitting(alike, True, 1) == (1, apart)
