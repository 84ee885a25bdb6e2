"""The reference engine equals a computation without cache, padding and batch."""

import copy
import dataclasses
import functools
import itertools

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, GenerationConfig

from snakesteer.engine.batching import left_pad
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine, steered
from snakesteer.engine.sampling import uniforms
from snakesteer.errors import UserError
from snakesteer.models.blocks import decoder_blocks
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import (
    MAIN_FAMILIES,
    blocks_of,
    direction,
    loaded_model,
    prompt_ids,
    slow_generate,
    slow_logits,
)
from tests.tiny_models import CONTEXT, FAMILIES, HIDDEN, NUM_LAYERS, VOCABULARY

K = 3
WINDOW = (1, 3)  # generated tokens, counted from 0
# Scope → whether a position is steered, given the length of the prompt.
SCOPES = {
    "from_last_prompt_token": lambda position, prompt: position >= prompt - 1,
    "all": lambda position, prompt: True,
    "generated_only": lambda position, prompt: position >= prompt,
    "last_prompt_token": lambda position, prompt: position == prompt - 1,
    "first_k": lambda position, prompt: prompt - 1 <= position < prompt - 1 + K,
    "generated_window": lambda position, prompt: position - prompt in range(*WINDOW),
    "outside_generated_window": lambda position, prompt: (
        position >= prompt and position - prompt not in range(*WINDOW)
    ),
}
DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=3.0, probe_alpha=2.0)


def steering(scope, alpha=1.5, layer=1, seed=0):
    first_k = K if scope == "first_k" else None
    window = WINDOW if "window" in scope else None
    return ResidualSteering(layer, direction(seed), alpha, scope, first_k, window=window)


def run(family, requests, decoding=Decoding(), batch_size=4, **changes):  # noqa: B008
    loaded = dataclasses.replace(loaded_model(family), **changes)
    return ReferenceEngine(loaded, decoding, batch_size).generate(requests)


def recorded(loaded, forward):
    """What every block put out during one call, ``{layer: [batch, seq, hidden]}``."""
    seen = {}

    def keep(layer):
        def hook(_module, _inputs, output):
            seen[layer] = (output[0] if isinstance(output, tuple) else output).clone()

        return hook

    handles = [
        block.register_forward_hook(keep(layer)) for layer, block in enumerate(loaded.blocks)
    ]
    forward()
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_patched_output_is_original_plus_alpha_v_exactly(family, scope):
    """In the prefill of a ragged batch and in three decode steps, one more than ``first_k``."""
    loaded = loaded_model(family)
    prompts = prompt_ids()
    ids, mask = left_pad(loaded, prompts)
    layer, alpha, vector = 2, 1.5, direction()
    steerings = [
        ResidualSteering(layer, vector, alpha, scope, K, window=WINDOW),
        None,
        *[steering(scope, layer=layer)] * 2,
    ]
    tokens = torch.tensor([[5], [6], [7], [8]])
    steps = [ids, tokens, tokens + 1, tokens + 2]

    def outputs_of_all_steps():
        cache = DynamicCache(config=loaded.model.config)
        grown, outputs = mask, []
        for step, new in enumerate(steps):
            if step > 0:
                grown = torch.cat([grown, torch.ones_like(new)], dim=1)
            positions = (grown.cumsum(-1) - 1).clamp(min=0)[:, -new.shape[1] :]
            # The recording hooks come behind the steering hook, so they see what it returned.
            forward = functools.partial(
                loaded.model,
                new,
                attention_mask=grown,
                past_key_values=cache,
                position_ids=positions,
            )
            outputs.append(recorded(loaded, forward))
        return outputs

    original = outputs_of_all_steps()
    with steered(loaded, steerings, mask):
        patched = outputs_of_all_steps()
    for step, (before, after) in enumerate(zip(original, patched, strict=True)):
        for earlier in range(layer):
            assert torch.equal(after[earlier], before[earlier])
        expected = before[layer].clone()
        for row, prompt in enumerate(prompts):
            if steerings[row] is None:
                continue
            width = steps[step].shape[1]
            for column in range(width):
                position = column - (width - len(prompt)) if step == 0 else len(prompt) + step - 1
                if position >= 0 and SCOPES[scope](position, len(prompt)):
                    expected[row, column] = before[layer][row, column] + alpha * vector
        assert torch.equal(after[layer], expected)
        if step == 0 and SCOPES[scope](0, 1):
            assert not torch.equal(after[layer + 1], before[layer + 1])


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_a_computation_without_cache(family):
    """Ragged batches of rows with different scopes and layers, against one text at a time."""
    model = loaded_model(family).model
    cases = list(itertools.product(prompt_ids(), SCOPES))
    requests = [
        Request(prompt, 8 + index % 3, steering(scope, layer=index % NUM_LAYERS, seed=index))
        for index, (prompt, scope) in enumerate(cases)
    ]
    plain = [dataclasses.replace(request, steering=None) for request in requests]
    answers = [generation.token_ids for generation in run(family, requests, batch_size=8)]
    for request, answer in zip(requests, answers, strict=True):
        inside = SCOPES[request.steering.scope]
        expected = slow_generate(
            family, model, request, lambda position, n, inside=inside: 1.5 * inside(position, n)
        )
        assert answer == expected
    one_by_one = [run(family, [request])[0].token_ids for request in requests]
    assert one_by_one == answers
    unsteered = [generation.token_ids for generation in run(family, plain, batch_size=8)]
    assert unsteered == [slow_generate(family, model, r, lambda *_: 0.0) for r in plain]
    changed = sum(a != b for a, b in zip(answers, unsteered, strict=True))
    assert changed >= len(cases) // 2


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("family", MAIN_FAMILIES)
def test_logits_equal_a_computation_without_cache(family, scope):
    loaded = loaded_model(family)
    prompts = prompt_ids()
    seen = []
    handle = loaded.model.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.logits[:, -1])
    )
    one = steering(scope)
    requests = [Request(prompt, 5, one) for prompt in prompts]
    try:
        answers = run(family, requests, eos_ids=frozenset())
    finally:
        handle.remove()
    assert len(seen) == 5  # one batch: requests of one steering run together
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        for step, logits in enumerate(seen):
            text = [*prompt, *answer.token_ids[:step]]
            factor = torch.tensor([1.5 * SCOPES[scope](p, len(prompt)) for p in range(len(text))])
            added = factor[:, None] * direction()
            expected = slow_logits(family, loaded.model, text, 1, added)
            torch.testing.assert_close(logits[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_alpha_zero_is_the_baseline(family):
    """Greedy and sampled, for every scope and for DAC, among unsteered neighbours or not."""
    for decoding in (Decoding(), Decoding(temperature=1.0, top_p=0.9, top_k=20)):
        plain = [Request(prompt, 10, seed=i) for i, prompt in enumerate(prompt_ids())]
        baseline = run(family, plain, decoding)
        zeros = [steering(scope, alpha=0.0) for scope in SCOPES]
        zeros.append(ResidualSteering(1, direction(), 0.0, dac=DAC))
        for zero in zeros:
            requests = [dataclasses.replace(request, steering=zero) for request in plain]
            assert run(family, requests, decoding) == baseline
        mixed = [dataclasses.replace(plain[0], steering=zeros[0]), *plain[1:]]
        assert run(family, mixed, decoding) == baseline


def test_a_steered_row_leaves_its_neighbours_alone():
    plain = [Request(prompt, 10) for prompt in prompt_ids()]
    baseline = run("llama", plain)
    strong = dataclasses.replace(plain[1], steering=steering("all", alpha=30.0))
    answers = run("llama", [plain[0], strong, *plain[2:]])
    assert answers[1] != baseline[1]
    assert [answers[0], *answers[2:]] == [baseline[0], *baseline[2:]]


def test_scopes_differ_from_each_other():
    """The token that each scope first affects is the one it should."""
    prompt = prompt_ids()[3]
    loaded = loaded_model("llama")
    seen = {}
    for scope in SCOPES:
        rows = []
        handle = loaded.model.register_forward_hook(
            lambda _module, _inputs, output, rows=rows: rows.append(output.logits[0, -1])
        )
        run("llama", [Request(prompt, 1, steering(scope))], eos_ids=frozenset())
        handle.remove()
        seen[scope] = rows[0]
    unsteered = slow_logits("llama", loaded.model, prompt, 0, torch.zeros(len(prompt), HIDDEN))
    torch.testing.assert_close(seen["generated_only"], unsteered)
    assert torch.equal(seen["from_last_prompt_token"], seen["last_prompt_token"])
    assert torch.equal(seen["from_last_prompt_token"], seen["first_k"])
    assert not torch.allclose(seen["from_last_prompt_token"], unsteered, atol=1e-2)
    assert not torch.allclose(seen["all"], seen["last_prompt_token"], atol=1e-2)


@pytest.mark.parametrize("dynamic", [False, True])
def test_same_seed_same_text_whatever_the_batch(dynamic):
    decoding = Decoding(temperature=1.2, top_p=0.95, top_k=40)
    how = ResidualSteering(1, direction(), 0.7, dac=DAC if dynamic else None)
    requests = [Request(prompt, 12, how, seed=i) for i, prompt in enumerate(prompt_ids() * 2)]
    answers = run("llama", requests, decoding, batch_size=8)
    assert run("llama", requests, decoding, batch_size=3) == answers
    assert run("llama", requests[::-1], decoding, batch_size=5) == answers[::-1]
    assert [run("llama", [request], decoding)[0] for request in requests] == answers
    same_prompt = [a.token_ids for a in answers[1::4]]
    assert same_prompt[0] != same_prompt[1]  # other seeds, other texts


def test_sampled_answers_equal_an_own_inversion():
    request = Request(prompt_ids()[2], 12, steering("all"), seed=7)
    stream = uniforms(7, 12).tolist()

    def pick(logits, step):
        probabilities = (logits.double() / 0.8).softmax(-1)
        total = 0.0
        for token, probability in enumerate(probabilities.tolist()):
            total += probability
            if total > stream[step]:
                return token
        return len(probabilities) - 1

    for family in MAIN_FAMILIES:
        model = loaded_model(family).model
        expected = slow_generate(family, model, request, lambda *_: 1.5, pick)
        assert run(family, [request], Decoding(temperature=0.8))[0].token_ids == expected


def test_batches_depend_on_the_prompts_alone():
    """Baseline and steered runs go through the same shapes; results keep the order asked for."""
    loaded = loaded_model("gpt2")
    shapes = {}
    order = [3, 0, 2, 1, 0, 3]
    prompts = [prompt_ids()[index] for index in order]
    for name, how in {"plain": None, "caa": steering("all")}.items():
        seen = shapes[name] = []
        handle = loaded.model.register_forward_pre_hook(
            lambda _module, _args, kwargs, seen=seen: seen.append(tuple(kwargs["input_ids"].shape)),
            with_kwargs=True,
        )
        answers = run(
            "gpt2", [Request(p, 3, how) for p in prompts], batch_size=4, eos_ids=frozenset()
        )
        handle.remove()
        assert [len(answer.token_ids) for answer in answers] == [3] * 6
        assert answers[1] == answers[4]
        assert answers[0] == answers[5]
    assert shapes["plain"] == shapes["caa"]
    assert shapes["plain"][0] == (4, len(prompt_ids()[2]))  # shortest together: x, x, 12+4=, The …


def test_hooks_are_gone_afterwards_even_after_an_error(monkeypatch):
    loaded = loaded_model("llama")

    def hooks():
        return sum(len(module._forward_hooks) for module in loaded.model.modules())

    before = hooks()
    request = Request(prompt_ids()[1], 3, steering("all"))
    run("llama", [request])
    run(
        "llama",
        [dataclasses.replace(request, steering=ResidualSteering(1, direction(), 1.0, dac=DAC))],
    )
    assert hooks() == before

    def broken(*_args, **_kwargs):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(loaded.blocks[2], "forward", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        run("llama", [request])
    assert hooks() == before


@pytest.mark.parametrize("dac", [None, DAC])
@pytest.mark.parametrize("layer", [NUM_LAYERS, -1])
def test_a_missing_layer_is_refused(layer, dac):
    request = Request(prompt_ids()[1], 3, ResidualSteering(layer, direction(), 1.0, dac=dac))
    with pytest.raises(UserError, match=rf"layer {layer}: the model has {NUM_LAYERS} layers"):
        run("llama", [request])


def test_a_block_that_is_not_called_is_an_error(monkeypatch):
    """Steering that silently does nothing would look like a result."""
    loaded = loaded_model("gpt2")
    unused = tuple(decoder_blocks(loaded_model("gpt2", seed=1).model))
    request = Request(prompt_ids()[1], 3, steering("all"))
    with pytest.raises(UserError, match="hook on layer 1 never ran"):
        run("gpt2", [request], blocks=list(unused))
    assert blocks_of("gpt2", loaded.model)[1] is loaded.blocks[1]


@pytest.mark.parametrize("dac", [None, DAC])
def test_a_model_without_a_cache_is_refused(dac):
    """OpenAI's first GPT reads the whole text at every step, so earlier steering would be lost."""
    config = AutoConfig.for_model(
        "openai-gpt", vocab_size=len(VOCABULARY), n_embd=HIDDEN, n_layer=2, n_head=4
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config = GenerationConfig(pad_token_id=0)
    changes = {"model": model, "blocks": decoder_blocks(model), "eos_ids": frozenset()}
    request = Request(prompt_ids()[1], 4)
    assert len(run("gpt2", [request], **changes)[0].token_ids) == 4  # unsteered it works
    with pytest.raises(UserError, match="KV cache"):
        run(
            "gpt2",
            [dataclasses.replace(request, steering=ResidualSteering(0, direction(), 1.0, dac=dac))],
            **changes,
        )


@pytest.mark.parametrize("dac", [None, DAC])
def test_a_prompt_that_does_not_fit_is_refused(dac):
    how = ResidualSteering(1, direction(), 1.0, dac=dac)
    fits = Request((5,) * (CONTEXT - 2), 2, how)
    assert len(run("gpt2", [fits], eos_ids=frozenset())[0].token_ids) == 2
    with pytest.raises(UserError, match=f"{CONTEXT - 2} tokens and 3 new tokens do not fit"):
        run("gpt2", [dataclasses.replace(fits, max_new_tokens=3)])


def test_nothing_asked_nothing_answered():
    assert run("llama", []) == []


def test_bfloat16_steering_keeps_the_dtype():
    """A float32 vector must not lift the residual stream to float32."""
    loaded = loaded_model("llama")
    model = copy.deepcopy(loaded.model).to(torch.bfloat16)
    changes = {"model": model, "blocks": decoder_blocks(model), "dtype": torch.bfloat16}
    seen = []
    handle = model.model.layers[2].register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0].dtype)
    )
    plain = [Request(prompt, 6) for prompt in prompt_ids()]
    for dac in (None, DAC):
        zero = ResidualSteering(1, direction(), 0.0, dac=dac)
        run("llama", [dataclasses.replace(r, steering=zero) for r in plain], **changes)
    handle.remove()
    assert set(seen) == {torch.bfloat16}
    zero = steering("all", alpha=0.0)
    steered_rows = [dataclasses.replace(r, steering=zero) for r in plain]
    assert run("llama", steered_rows, **changes) == run("llama", plain, **changes)
