"""The decode step through torch's flex_attention: the reference's tokens, and a row's own bits."""

import logging
from functools import partial

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch.nn.attention import flex_attention

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.select import engine_record, make_engine
from snakesteer.engine.slots import attention, flex
from snakesteer.engine.slots.check import CannotRunExactly, examine
from snakesteer.engine.slots.engine import SlotsEngine
from tests.loaded_models import loaded_model, prompt_ids
from tests.unit.engine.slots.test_captured import steps_of
from tests.unit.engine.slots.test_engine import FEW_SHOT, LONG, SHARED, dac, mixed_heads, steering
from tests.unit.engine.slots.test_exactness import model_in

# Plain; capped scores and a sliding window; a bias on scores; no groups of heads.
FAMILIES = ("llama", "gemma2", "falcon-rw", "gpt2")

NOT_COMPILED = "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"


def requests_of(prompts):
    kinds = [None, steering(), steering("all", -0.8, 2), dac(), mixed_heads()[0]]
    return [Request(prompt, 8, one) for one in kinds for prompt in prompts]


def engine_with(family, shared=(), slots=8):
    loaded = loaded_model(family)
    return SlotsEngine(loaded, Decoding(), slots, shared_prefix=shared, kernel="flex")


@pytest.mark.parametrize("family", FAMILIES)
def test_its_tokens_are_the_reference_s(family):
    requests = requests_of([*FEW_SHOT[:2], *LONG])
    wanted = ReferenceEngine(loaded_model(family), Decoding(), 4).generate(requests)
    assert engine_with(family, SHARED).generate(requests) == wanted
    assert len({one.token_ids for one in wanted}) > len(wanted) // 3


def test_a_row_keeps_its_bits_beside_longer_ones():
    """What a slot's logits are does not depend on how many blocks its neighbours need."""
    alone = engine_with("llama").generate([Request(prompt_ids()[2], 12, steering())])
    among = engine_with("llama").generate(
        [Request(prompt_ids()[2], 12, steering()), *requests_of(LONG)]
    )
    assert among[0] == alone[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_check_passes(family, dtype):
    examine(model_in(dtype, family), "flex")


FAULTS = {
    "scores of 0.9 times their size": {"scaling": 0.9},
    "hidden keys are seen": {"hidden": False},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_kernel_is_refused_and_plain_operations_take_over(monkeypatch, caplog, fault):
    right = attention.add_block

    def wrong(seen, query, key, value, hidden, bias, scaling, softcap):
        scaling *= FAULTS[fault].get("scaling", 1.0)
        hidden = hidden & FAULTS[fault].get("hidden", True)
        return right(seen, query, key, value, hidden, bias, scaling, softcap)

    loaded = loaded_model("llama")
    with monkeypatch.context() as patch:
        patch.setattr(attention, "add_block", wrong)
        with pytest.raises(CannotRunExactly, match="off in float32"):
            examine(loaded, "flex")
        with caplog.at_level(logging.WARNING):
            engine = make_engine("slots", loaded, Decoding(), batch_size=4, attention="flex")
    assert engine_record(engine)["attention"] == "blocks"
    assert "engine.attention: blocks" in caplog.text
    assert engine_with("llama").kernel == "flex"


def test_where_it_cannot_be_compiled_plain_operations_take_over(monkeypatch, caplog):
    without_triton = RuntimeError("Cannot find a working triton installation")

    def backend(*_args, **_kwargs):
        raise BackendCompilerFailed(backend, without_triton, None)

    monkeypatch.setattr(flex, "flex_attention", backend)
    loaded = loaded_model("llama")
    engine = make_engine("slots", loaded, Decoding(), batch_size=4, attention="flex")
    assert engine_record(engine)["attention"] == "blocks"
    assert "Cannot find a working triton installation" in caplog.text


def test_nothing_else_is_compiled():
    """Parts in one compiled piece with the model would be no longer those that were checked."""
    engine = SlotsEngine(loaded_model("llama"), Decoding(), 4, compiled=True, kernel="flex")
    assert not engine_record(engine)["compiled"]
    engine.generate(requests_of(LONG[:1])[:1])


@pytest.fixture
def graphs(monkeypatch):
    """What is compiled, as on a GPU, but for the last step: there are no kernels."""
    found = []

    def backend(graph, _inputs):
        found.append(graph)
        return graph.forward

    compiled = flex._function.__wrapped__
    monkeypatch.setattr(flex, "_function", lambda add, _: compiled(add, True))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield found
    torch.compiler.reset()


def test_all_shapes_are_compiled(graphs):
    """Numbers of slots, which memory and noise floor set; torch would go on uncompiled after 8."""
    numbers = range(2, 14)
    for slots in numbers:
        query, key = torch.randn(slots, 6, 1, 16), torch.randn(slots, 2, 64, 16)
        hidden = torch.zeros(slots, 64, dtype=torch.bool)
        seen = flex.nothing_seen(query)
        for _ in range(2):
            seen = flex.add_block(seen, query, key, key, hidden, None, 0.3, None)
    assert len(graphs) == len(numbers)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_compiled_gives_the_same(graphs, family):
    requests = requests_of([*FEW_SHOT[:1], *LONG[:1]])
    found = engine_with(family, SHARED).generate(requests)
    assert graphs
    assert found == ReferenceEngine(loaded_model(family), Decoding(), 4).generate(requests)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_fit_into_a_gpu(monkeypatch, dtype):
    """Torch's for few queries holds them all, of every slot, in one program: not for prefixes."""
    options = {}

    def spy(query, *_args, kernel_options, **_kwargs):
        options[query.shape] = kernel_options
        return query, flex_attention.AuxOutput(lse=query[..., 0])

    monkeypatch.setattr(flex, "flex_attention", spy)
    query, key = torch.ones(96, 6, 1, 16, dtype=dtype), torch.ones(96, 2, 64, 16, dtype=dtype)
    seen, hidden = flex.nothing_seen(query), torch.zeros(96, 64, dtype=torch.bool)
    flex.add_block(seen, query, key, key, hidden, None, 0.3, None)
    flex.add_prefix(seen, query, key[0], key[0], hidden, None, 0.3, None)
    assert options[96, 2, 3, 16] == {"SPLIT_KV": 1}
    prefix = options[1, 2, 288, 16]
    assert prefix["FORCE_USE_FLEX_ATTENTION"]
    assert ("num_stages" in prefix) == (dtype == torch.float32)


@pytest.mark.parametrize("kind", ["greedy", "dac"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_step_can_be_captured(monkeypatch, family, kind):
    """Tensors without data, which flex_attention does not take by itself, stand for a GPU's."""
    for name, value in (("_validate_device", lambda *_: None), (NOT_COMPILED, True)):
        monkeypatch.setattr(torch.nn.attention.flex_attention, name, value)
    assert steps_of(family, kind, "flex") == set()
