"""vLLM against the reference engine: the same tokens in float32, whatever shares a batch."""

from dataclasses import replace

import pytest
import torch

from snakesteer.config import ModelConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.vllm import prefixes, server
from snakesteer.engine.vllm.engine import VllmEngine
from snakesteer.errors import UserError
from snakesteer.models.loading import load_causal_lm
from snakesteer.steering.dac import Dac
from snakesteer.steering.operators import OPERATORS
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import Place, ResidualSteering
from tests.loaded_models import TOKENS, prompt_ids
from tests.vllm_models import DEPTH, SHAPES, needs_vllm, vllm_loaded, wide_direction

TOKENS_EACH = 12
WINDOW = (1, 3)
AXIS = wide_direction(19)
DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=2.0, probe_alpha=1.0)


def steering(seed, layer=1, alpha=1.0, **others):
    return ResidualSteering(layer, wide_direction(seed), alpha, **others)


def all_steerings():
    """None, all scopes, all operators and a band of all layers."""
    band = tuple(Place(layer, wide_direction(30 + layer), 0.5) for layer in range(1, DEPTH))
    return [
        None,
        steering(0),
        steering(1, scope="all"),
        steering(2, alpha=-1.5, scope="generated_only"),
        steering(3, scope="last_prompt_token"),
        steering(4, scope="first_k", first_k=2),
        steering(5, scope="generated_window", window=WINDOW),
        steering(6, scope="outside_generated_window", window=WINDOW),
        steering(7, scope="at_tokens", tokens=TOKENS),
        steering(8, scope="not_at_tokens", tokens=TOKENS),
        *(
            steering(20 + n, 2, 0.7, operator=name, axis=AXIS if name == "rotate" else None)
            for n, name in enumerate(OPERATORS)
        ),
        steering(32, beside=(steering(33, operator="clamp"), steering(34, 2, scope="all"))),
        steering(30, 0, 0.5, more=band),
        steering(31, scope="all", operator="angular", alpha=0.4),
    ]


def mixed_requests():
    return [Request(ids, TOKENS_EACH, one) for ids in prompt_ids() for one in all_steerings()]


def reference(loaded, decoding=Decoding()):  # noqa: B008
    return ReferenceEngine(loaded, decoding, 4)


@needs_vllm
@pytest.mark.parametrize("family", [*SHAPES])
def test_mixed_steerings_in_one_batch(family):
    loaded = vllm_loaded(family)
    requests = mixed_requests()
    wanted = reference(loaded).generate(requests)
    assert len({one.token_ids for one in wanted}) > len(prompt_ids())  # steering does something
    engine = VllmEngine(loaded, Decoding(), slots=16)
    assert engine.generate(requests) == wanted
    assert engine.generate(requests[::-1]) == wanted[::-1]


@needs_vllm
def test_two_ranks_steer_once():
    """Each rank has its part of the weights and all of the stream."""
    loaded = vllm_loaded("llama")
    requests = mixed_requests()
    engine = VllmEngine(loaded, Decoding(), tensor_parallel=2, slots=16)
    try:
        assert engine.generate(requests) == reference(loaded).generate(requests)
        assert engine.record["tensor_parallel"] == 2
    finally:
        server.close_server()


@needs_vllm
@pytest.mark.parametrize("arguments", [{"max_num_batched_tokens": 16}, {"few_blocks": 1}])
def test_prompts_in_parts_and_memory_taken_away(arguments, monkeypatch):
    """Positions are counted from the text's beginning, however often it is read."""
    loaded = vllm_loaded("llama")
    right = server._engine_arguments

    def changed(*given):
        found = right(*given)
        if "few_blocks" in arguments:  # 6 of 32 tokens, where 8 requests want up to 2 each
            return {**found, "block_size": 32, "num_gpu_blocks_override": 7, "max_model_len": 128}
        return {**found, **arguments}

    monkeypatch.setattr(server, "_engine_arguments", changed)
    requests = [replace(one, max_new_tokens=30) for one in mixed_requests()]
    server.close_server()
    try:
        found = VllmEngine(loaded, Decoding(), slots=8).generate(requests)
    finally:
        server.close_server()
    assert found == reference(loaded).generate(requests)


def prefix_requests(loaded):
    """Long prompts that begin alike, under steerings that read them otherwise, and their answers
    as prompts of others."""
    start = prompt_ids(["Ann has 3 pens, and Bob gives her 4 more of them. How many? " * 2])[0]
    others = [steering(40, scope="all"), steering(41, scope="all"), steering(42, 0, 2.0)]
    first = [Request((*start, tail), 70, one) for one in (None, *others) for tail in (40, 50)]
    texts = reference(loaded).generate(first)
    second = [
        Request((*one.prompt_ids, *text.token_ids), 12, other)
        for one, text in zip(first, texts, strict=True)
        for other in (None, one.steering)
        if text.token_ids
    ]
    return first, second


def answers_in_turn(loaded, batches):
    engine = VllmEngine(loaded, Decoding(), slots=4)
    engine.server.engine.reset_prefix_cache()
    return [one for batch in batches for one in engine.generate(batch)]


def small_blocks(monkeypatch):
    right = server._engine_arguments
    monkeypatch.setattr(
        server, "_engine_arguments", lambda *given: {**right(*given), "block_size": 32}
    )
    server.close_server()


@needs_vllm
def test_no_steering_reads_the_keys_of_another_one(monkeypatch):
    loaded = vllm_loaded("llama")
    batches = prefix_requests(loaded)
    wanted = [one for batch in batches for one in reference(loaded).generate(batch)]
    small_blocks(monkeypatch)
    try:
        assert answers_in_turn(loaded, batches) == wanted
    finally:
        server.close_server()


@needs_vllm
@pytest.mark.parametrize("fault", ["salt", "own_hashes"])
def test_these_prompts_tell_when_keys_are_shared_wrongly(fault, monkeypatch):
    """The test above can fail."""
    loaded = vllm_loaded("llama")
    batches = prefix_requests(loaded)
    wanted = [one for batch in batches for one in reference(loaded).generate(batch)]
    if fault == "salt":
        monkeypatch.setattr("snakesteer.engine.vllm.engine.salt", lambda *_given: None)
        monkeypatch.setattr(prefixes, "own_hashes", lambda hashes, *_given: hashes)
    else:
        monkeypatch.setattr(prefixes, "own_hashes", lambda hashes, *_given: hashes)
    small_blocks(monkeypatch)
    try:
        assert answers_in_turn(loaded, batches) != wanted
    finally:
        server.close_server()


@needs_vllm
@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(temperature=0.8),
        Decoding(temperature=1.2, top_k=5, top_p=0.9),
        Decoding(stop=("a", "B", "0")),
    ],
)
def test_sampling_and_stop_strings_are_those_of_all_engines(decoding):
    loaded = vllm_loaded("qwen3")
    requests = [
        replace(one, seed=seed) for seed, one in enumerate(mixed_requests()) if seed % 3 == 0
    ]
    wanted = reference(loaded, decoding).generate(requests)
    if decoding.stop:
        assert "stop" in {one.finish for one in wanted}
    assert VllmEngine(loaded, decoding, slots=8).generate(requests) == wanted


@needs_vllm
def test_a_queue_that_grows_and_shrinks():
    loaded = replace(vllm_loaded("qwen3"), eos_ids=frozenset())
    ids = prompt_ids()
    wanted = reference(loaded).generate([Request(one, 8, steering(1)) for one in ids])
    with VllmEngine(loaded, Decoding(), slots=1).session() as session:
        late = session.add([Request(ids[0], 8, steering(1)), Request(ids[1], 8, steering(1))], 5)
        soon = session.add([Request(ids[2], 8, steering(1)), Request(ids[3], 8, steering(1))], 1)
        session.drop([late[0]])
        order = []
        while ended := session.ended():
            order += ended
            if len(order) == 1:
                session.drop([soon[1], soon[0]])  # one waits, one is over
    assert [ticket for ticket, _ in order] == [soon[0], late[1]]
    assert [found for _, found in order] == [wanted[2], wanted[1]]


@needs_vllm
def test_in_bfloat16_a_steered_stream_is_rounded_as_everywhere():
    """Nearly: whole answers part at near ties, so first tokens of many prompts are compared."""
    source = vllm_loaded("llama").source
    model = ModelConfig(name=source.name, dtype="bfloat16", device="cpu")
    loaded = load_causal_lm(model, gpus=0, threads=1)
    requests = [replace(one, max_new_tokens=1) for one in mixed_requests()]
    pairs = zip(
        VllmEngine(loaded, Decoding(), slots=16).generate(requests),
        reference(loaded).generate(requests),
        strict=True,
    )
    same = [one.token_ids == other.token_ids for one, other in pairs]
    assert sum(same) >= 0.9 * len(same)


@needs_vllm
@pytest.mark.parametrize("kind", ["start", "dynamic"])
def test_steering_that_it_does_not_have(kind):
    loaded = vllm_loaded("qwen3")
    if kind == "start":
        one = PromptStartSteering(1, torch.ones(2, 64), 1.0)
    else:
        one = replace(steering(1), dac=DAC)
    with pytest.raises(UserError, match="which cannot do"):
        VllmEngine(loaded, Decoding(), slots=8).generate([Request((5, 6), 3, one)])
