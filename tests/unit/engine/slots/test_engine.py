"""The slots engine gives the reference engine's tokens, whatever it holds in its slots."""

import dataclasses
import random
from typing import get_args

import pytest
import torch

from snakesteer.config import Scope
from snakesteer.data.prompts import common_prefix
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.errors import UserError
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import TOKENS, direction, loaded_model, prompt_ids
from tests.tiny_models import CONTEXT, FAMILIES, HIDDEN, NUM_LAYERS, SLIDING_WINDOW

K = 3
SCOPES = get_args(Scope)
WINDOW = (2, 5)
DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=3.0, probe_alpha=2.0)
PER_TOKEN = dataclasses.replace(DAC, kl="per_token")
# Also those whose attention or experts are replaced.
SLOT_FAMILIES = (*FAMILIES, "falcon", "falcon-40b", "falcon-rw", "mixtral", "qwen2_moe")
# Prompts that begin alike, as few-shot prompts do; longer than a sliding window.
SHOTS = "Q: 1+1? A: 2. Q: 2+3? A: 5. "
FEW_SHOT = prompt_ids([SHOTS + text for text in ("4+4?", "Tom has 9 apples.", "7", "4+4 is?")])
SHARED = common_prefix([prompt[:-1] for prompt in FEW_SHOT])
# 70 tokens: with its answer it needs more than one block.
# Attention heads, and positions of a prompt: vectors of 4 steps, and of up to 60 positions.
ALL_LAYERS = tuple(range(NUM_LAYERS))
DELTA = 0.6 * torch.randn(4, NUM_LAYERS, HIDDEN, generator=torch.Generator().manual_seed(0))
HEADS_DAC = Dac(entropy_threshold=-1.0, ptop=0.6, max_alpha=2.0, probe_alpha=2.0)
START = torch.randn(60, HIDDEN, generator=torch.Generator().manual_seed(1))
LONG = prompt_ids(["Mia reads 12 pages a day, and 20 on Sundays. How many pages in 3 weeks?"])


def steering(scope="from_last_prompt_token", alpha=1.5, layer=1, seed=0):
    window = WINDOW if "window" in scope else None
    first_k = K if scope == "first_k" else None
    tokens = TOKENS if "tokens" in scope else None
    return ResidualSteering(
        layer, direction(seed), alpha, scope, first_k, window=window, tokens=tokens
    )


def dac(alpha=1.0, layer=1, dac=DAC):
    return ResidualSteering(layer, direction(2), alpha, dac=dac)


def mixed_heads():
    """Every schedule and end, some and all layers, vectors of one step and of several."""
    fixed = [
        HeadSteering(ALL_LAYERS, DELTA, alpha, schedule, after)
        for alpha, schedule in ((2.0, "fixed"), (-3.0, "diminishing"), (1.5, "start"))
        for after in ("zero", "hold", "mean")
    ]
    dynamic = [
        HeadSteering(ALL_LAYERS, DELTA, 1.5, "dynamic", after, HEADS_DAC)
        for after in ("zero", "hold", "mean")
    ]
    # What does not begin with the first block has streams that share the blocks before it.
    later = HeadSteering((2, 3), DELTA[:, 2:], 3.0, "dynamic", "hold", HEADS_DAC)
    return [*fixed, *dynamic, later, HeadSteering((0, 3), DELTA[:1, :2], 3.0)]


def starts(*lengths):
    """ActAdd with vectors for so many positions."""
    return [
        PromptStartSteering(layer % NUM_LAYERS, START[:length], 1.5 - layer)
        for layer, length in enumerate(lengths)
    ]


def reference(family, requests, decoding=Decoding()):  # noqa: B008
    return ReferenceEngine(loaded_model(family), decoding, batch_size=4).generate(requests)


def slots(family, requests, decoding=Decoding(), number=8, shared=()):  # noqa: B008
    engine = SlotsEngine(loaded_model(family), decoding, number, shared_prefix=shared)
    return engine.generate(requests)


def mixed_requests(prompts, new=12, sampled=False):
    """Every method, scope, schedule and several layers and strengths; in no particular order."""
    steerings = [None, steering("all", 0.8, NUM_LAYERS - 1, 5), dac(), dac(0.5, NUM_LAYERS - 1)]
    steerings.append(dac(3.0, 0, PER_TOKEN))
    steerings += [
        steering(scope, alpha, layer, layer)
        for scope in SCOPES
        for alpha, layer in ((1.5, 0), (-0.7, 2))
    ]
    steerings += mixed_heads()
    # Shorter and longer than prompts and what they share; some end with the last prompt token.
    steerings += starts(1, 3, len(SHARED) - 4, len(SHARED) + 5, 60, *map(len, prompts[:2]))
    requests = [
        Request(prompt, new + len(prompt) % 3, one, seed=index if sampled else 0)
        for index, one in enumerate(steerings)
        for prompt in prompts
    ]
    random.Random(0).shuffle(requests)
    return requests


def same_alpha_t(found, wanted, requests):
    """Both have the mean α_t where the strength is dynamic, and only there."""
    dynamic = [request.is_dynamic for request in requests]
    for generations in (found, wanted):
        assert [one.alpha_t is not None for one in generations] == dynamic
    pairs = [
        (one.alpha_t, other.alpha_t)
        for one, other, has in zip(found, wanted, dynamic, strict=True)
        if has
    ]
    assert [one for one, _ in pairs] == pytest.approx([other for _, other in pairs], abs=1e-4)
    assert len({round(one, 3) for one, _ in pairs}) > len(pairs) // 4


@pytest.mark.parametrize("family", SLOT_FAMILIES)
def test_mixed_trials_equal_the_reference(family):
    """One queue, much longer than the slots, of every method over ragged prompts."""
    requests = mixed_requests(prompt_ids())
    wanted = reference(family, requests)
    assert len({generation.token_ids for generation in wanted}) > len(wanted) // 4
    found = slots(family, requests)
    assert found == wanted
    same_alpha_t(found, wanted, requests)


def test_a_kl_per_token_is_another_strength():
    answers = [
        slots("llama", [Request(prompt, 12, dac(8.0, dac=one)) for prompt in prompt_ids()])
        for one in (DAC, PER_TOKEN)
    ]
    assert answers[0] != answers[1]


@pytest.mark.parametrize("family", SLOT_FAMILIES)
def test_a_shared_prefix_changes_no_token(family):
    requests = mixed_requests(FEW_SHOT)
    assert len(SHARED) > SLIDING_WINDOW
    assert slots(family, requests, shared=SHARED) == reference(family, requests)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neo", "falcon-rw", "mixtral"])
def test_answers_over_several_blocks(family):
    requests = [Request(prompt, 80, s) for prompt in LONG + FEW_SHOT for s in (None, steering())]
    loaded = dataclasses.replace(loaded_model(family), eos_ids=frozenset())
    wanted = ReferenceEngine(loaded, Decoding(), 4).generate(requests)
    assert {len(generation.token_ids) for generation in wanted} == {80}
    assert SlotsEngine(loaded, Decoding(), 8).generate(requests) == wanted


@pytest.mark.parametrize("family", ["llama", "mistral", "opt"])
def test_an_answer_may_fill_the_context(family):
    prompt = LONG[0]
    loaded = dataclasses.replace(loaded_model(family), eos_ids=frozenset())
    requests = [Request(prompt, CONTEXT - len(prompt)), Request(prompt[:3], 5)]
    wanted = ReferenceEngine(loaded, Decoding(), 2).generate(requests)
    assert SlotsEngine(loaded, Decoding(), 4).generate(requests) == wanted


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt_neox"])
def test_sampling_equals_the_reference(family):
    decoding = Decoding(temperature=1.2, top_p=0.9, top_k=20)
    requests = mixed_requests(FEW_SHOT, sampled=True)
    wanted = reference(family, requests, decoding)
    assert slots(family, requests, decoding, shared=SHARED) == wanted


def test_a_sample_depends_on_its_seed_alone():
    decoding = Decoding(temperature=1.5)
    request = Request(FEW_SHOT[0], 20, seed=7)
    others = [Request(prompt, 9, seed=seed) for prompt in FEW_SHOT for seed in range(5)]
    alone = slots("llama", [request], decoding)[0]
    assert slots("llama", [*others, request], decoding)[-1] == alone
    assert slots("llama", [*others, request], decoding, number=19)[-1] == alone
    assert slots("llama", [dataclasses.replace(request, seed=8)], decoding)[0] != alone


def test_stop_strings_and_limits_equal_the_reference():
    texts = [generation.text for generation in reference("llama", mixed_requests(FEW_SHOT))]
    stop = (texts[0][2:4], texts[1][5:6], " ")
    assert all(stop)
    requests = [dataclasses.replace(r, max_new_tokens=30) for r in mixed_requests(FEW_SHOT)]
    wanted = reference("llama", requests, Decoding(stop=stop))
    assert {generation.finish for generation in wanted} >= {"stop", "length"}
    found = slots("llama", requests, Decoding(stop=stop))
    assert found == wanted
    same_alpha_t(found, wanted, requests)


def test_one_token_prompts_and_answers():
    requests = [Request(prompt_ids()[0], 1), Request(prompt_ids()[0], 1, steering("all"))]
    assert slots("llama", requests) == reference("llama", requests)


def test_no_requests():
    assert slots("llama", []) == []


@pytest.mark.parametrize("family", SLOT_FAMILIES)
def test_the_number_of_slots_changes_no_float32_token(family):
    requests = mixed_requests(prompt_ids(), new=8)
    few, many = slots(family, requests, number=4), slots(family, requests, number=23)
    assert few == many


def test_calls_do_not_disturb_each_other():
    """One engine, used again with longer, shorter and differently steered requests."""
    engine = SlotsEngine(loaded_model("mistral"), Decoding(), 5, shared_prefix=FEW_SHOT[0][:9])
    first = [Request(prompt, 6) for prompt in prompt_ids()]
    calls = [first, mixed_requests(FEW_SHOT), [Request(LONG[0], 70, dac())], first]
    for requests in calls:
        assert engine.generate(requests) == reference("mistral", requests)


@pytest.mark.parametrize("family", ["gemma2", "gpt_neo", "falcon-rw", "mixtral"])
def test_the_model_is_left_as_it_was(family):
    model = loaded_model(family).model

    def state():
        config = model.config
        names = ("_attn_implementation", "_experts_implementation", "pad_token_id")
        return (
            [getattr(config, name) for name in names],
            [dict(module._forward_hooks) for module in model.modules()],
            ["forward" in vars(module) for module in model.modules()],
            [getattr(module, "use_alibi", None) for module in model.modules()],
        )

    before = state()
    slots(family, mixed_requests(prompt_ids()[:1]))
    assert state() == before


def test_a_prompt_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="context"):
        slots("llama", [Request(LONG[0], CONTEXT)])


def test_too_few_slots_are_refused():
    with pytest.raises(UserError, match="at least 4"):
        slots("llama", [], number=3)


def test_a_huge_strength_ruins_no_other_row():
    """NaN from one row must not reach the next one in its slot, nor its neighbours."""
    wild = ResidualSteering(0, torch.full_like(direction(), 1e38), 1e3, "all")
    clean = [Request(prompt, 6) for prompt in prompt_ids()]
    wild_requests = [Request(prompt, 9, wild) for prompt in prompt_ids() + FEW_SHOT]
    wild_requests += [
        Request(r.prompt_ids, 9, dataclasses.replace(wild, scope="generated_only"))
        for r in wild_requests
    ]
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 4)
    results = engine.generate([*wild_requests, *clean, *wild_requests, *clean])
    wanted = reference("llama", clean)
    assert results[-len(clean) :] == wanted
    assert results[len(wild_requests) :][: len(clean)] == wanted
