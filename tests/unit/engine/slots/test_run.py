"""How the slots engine uses memory and devices."""

import copy
import dataclasses
import gc
import logging
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots import engine as slots_module
from snakesteer.engine.slots.cache import KvShape
from snakesteer.engine.slots.count import MIN_SLOTS, MOST, MOST_ON_CPU, ON_CPU, choose_slots
from snakesteer.engine.slots.decode import SlotDecoder
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.errors import UserError
from snakesteer.models.blocks import decoder_blocks
from snakesteer.steering.dac import Dac
from snakesteer.steering.heads import HeadSteering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering
from tests.loaded_models import direction, loaded_model, prompt_ids
from tests.tiny_models import CONTEXT

GREEDY = Decoding()
PROMPTS = prompt_ids([f"{n} apples and {n * 7} pears?" for n in range(40)])
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def live_bytes():
    """Bytes of all plain tensors; those that torch's tracing keeps for itself have no data."""
    gc.collect()
    plain = (item for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter))
    storages = (tensor.untyped_storage() for tensor in plain if tensor.device.type != "meta")
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_live_bytes_are_those_of_plain_tensors():
    before = live_bytes()
    kept = torch.zeros(1000, dtype=torch.float64)
    views = [kept[:10], torch.zeros(1000, device="meta"), FakeTensorMode().from_tensor(kept)]
    assert live_bytes() - before == 8000
    del kept, views
    assert live_bytes() == before


def test_memory_does_not_grow_over_a_thousand_requests():
    engine = SlotsEngine(loaded_model("llama"), GREEDY, 8)
    steering = ResidualSteering(1, direction(), 1.0)
    requests = [Request(prompt, 3, s) for prompt in PROMPTS[:25] for s in (None, steering)]
    engine.generate(requests)
    before = live_bytes()
    for _ in range(20):
        engine.generate(requests)
    assert live_bytes() <= before


def test_prompts_are_read_once_and_kept_within_the_limit(monkeypatch):
    reads = []
    read = slots_module.Prefill.read

    def counting(self, prompts):
        reads.extend(prompts)
        return read(self, prompts)

    monkeypatch.setattr(slots_module.Prefill, "read", counting)
    steerings = [None, *(ResidualSteering(1, direction(), alpha) for alpha in (0.5, 1.0, 2.0))]
    requests = [Request(prompt, 3, steering) for steering in steerings for prompt in PROMPTS]
    engine = SlotsEngine(loaded_model("llama"), GREEDY, 8)
    reads.clear()  # of the engine's own check
    first = engine.generate(requests)
    assert sorted(reads) == sorted(set(PROMPTS))
    assert engine.generate(requests) == first
    assert len(reads) == len(PROMPTS)

    one_prompt = engine.shape.bytes_per_token * 64
    monkeypatch.setattr(slots_module, "kept_bytes", lambda _device: 3 * one_prompt)
    small = SlotsEngine(loaded_model("llama"), GREEDY, 8)
    assert small.generate(requests) == first
    store = small._prompts.of(requests[0], ())
    assert len(store._kept) == 3
    assert not store._waiting


def test_out_of_memory_starts_again_with_fewer_slots(monkeypatch, caplog):
    """A stand-in for a GPU that holds 8 slots: every request is answered, by 8 slots."""
    run = SlotDecoder.run

    def limited(self, ticks, used):
        if self.capacity.slots > 8 and int(self.step.max()) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, ticks, used)

    monkeypatch.setattr(SlotDecoder, "run", limited)
    requests = [Request(prompt, 6) for prompt in PROMPTS]
    engine = SlotsEngine(loaded_model("llama"), GREEDY, 32)
    with caplog.at_level(logging.WARNING):
        results = engine.generate(requests)
    assert engine.slots == 8
    assert "16 slots" in caplog.text
    assert "8 slots" in caplog.text
    assert results == ReferenceEngine(loaded_model("llama"), GREEDY, 8).generate(requests)


def test_out_of_memory_with_the_fewest_slots_is_an_error(monkeypatch):
    def never(_self, _ticks, _used):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SlotDecoder, "run", never)
    with pytest.raises(UserError, match="do not fit"):
        SlotsEngine(loaded_model("llama"), GREEDY, 8).generate([Request(PROMPTS[0], 3)])


def test_several_steps_between_two_looks_change_nothing():
    """What a GPU does: rows run on behind their end until the tokens are looked at."""
    dac = ResidualSteering(1, direction(), 1.0, dac=Dac(0.5, 0.8, 3.0, 2.0))
    requests = [
        Request(prompt, 5 + index % 7, steering)
        for index, prompt in enumerate(PROMPTS[:12])
        for steering in (None, ResidualSteering(2, direction(), 1.0), dac)
    ]
    requests.append(Request(PROMPTS[0], CONTEXT - len(PROMPTS[0])))
    one = SlotsEngine(loaded_model("gpt2"), GREEDY, 9)
    many = SlotsEngine(loaded_model("gpt2"), GREEDY, 9)
    assert one.ticks == 1
    many.ticks = 8
    found, wanted = many.generate(requests), one.generate(requests)
    assert found == wanted
    assert [g.alpha_t for g in found] == pytest.approx([g.alpha_t for g in wanted], abs=1e-5)
    alphas = [g.alpha_t for g in found if g.alpha_t is not None]
    assert len(alphas) == len(set(alphas)) == 12


def gpu_like(monkeypatch, gigabytes=80):
    """The tiny model as on a GPU of that size; it still computes on the CPU."""
    properties = type("Properties", (), {"total_memory": gigabytes * 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    return dataclasses.replace(loaded_model("llama"), device=torch.device("cuda"), context=2048)


def test_the_number_of_slots_depends_on_the_machine_and_the_model(monkeypatch):
    shape = KvShape(layers=22, heads=4, width=64, dtype=torch.bfloat16)
    # 3 GiB: 35 slots of 1024 tokens with 22.5 kB each, in four streams.
    on_cpu = [choose_slots(loaded_model("llama"), shape, own) for own in (2048, 1024, 700, 64)]
    assert on_cpu == [ON_CPU, 32, 48, MOST_ON_CPU]

    def chosen(gigabytes, *arguments):
        return choose_slots(gpu_like(monkeypatch, gigabytes), shape, *arguments)

    # Half of 8 GiB: 46 slots of 1024 tokens with 22.5 kB each, in four streams.
    assert chosen(8) == 40
    assert chosen(8, 1024, False) == 184
    assert chosen(8, 512) > chosen(8, 640) > chosen(8)
    assert chosen(1) == MIN_SLOTS
    assert chosen(800) == MOST


def rehearsing(monkeypatch, fitting, number=None):
    """An engine on a stand-in for a GPU that holds a step of so many slots under DAC."""
    steps = []

    def run(self, ticks, used):
        steps.append((self.capacity.slots, self.capacity.dynamic, used, self.capacity.steps))
        if self.capacity.dynamic and self.capacity.slots > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [], []

    monkeypatch.setattr(slots_module, "choose_slots", lambda *_arguments: 64)
    engine = SlotsEngine(loaded_model("llama"), GREEDY, number)
    engine.loaded = gpu_like(monkeypatch)
    monkeypatch.setattr(slots_module, "SlotDecoder", lambda _loaded, *rest: Fake(*rest))
    monkeypatch.setattr(Fake, "run", run, raising=False)
    return engine, steps


class Fake:
    """A decoder without tensors."""

    def __init__(self, _decoding, _steering, _shape, capacity, *_rest):
        self.capacity = capacity


def test_slots_are_settled_by_the_largest_step_before_any_answer(monkeypatch, caplog):
    engine, steps = rehearsing(monkeypatch, fitting=30)
    with caplog.at_level(logging.WARNING):
        engine.prepare([Request(PROMPTS[0], 3), Request(PROMPTS[-1], 100)] * 40)
    assert [slots for slots, _, _, _ in steps] == [64, 64, 48, 48, 32, 32, 24, 24]
    assert engine.slots == 24
    assert {(used, new) for _, _, used, new in steps} == {(2, 100)}
    assert "64 slots do not fit: trying 48" in caplog.text


def test_there_are_no_more_slots_than_for_all_problems(monkeypatch):
    engine, steps = rehearsing(monkeypatch, fitting=64)
    engine.prepare([Request((5, 6), 7)] * 45)
    assert engine.slots == 48
    assert [slots for slots, _, _, _ in steps] == [48, 48]


@pytest.mark.parametrize(("problems", "slots"), [(1, 8), (12, 16), (16, 16), (200, 64)])
def test_a_cpu_has_slots_for_all_problems_or_for_what_it_gains_by(problems, slots):
    engine = SlotsEngine(loaded_model("llama"), GREEDY)
    engine.prepare([Request((5, 6), 7)] * problems)
    assert engine.slots == slots
    given = SlotsEngine(loaded_model("llama"), GREEDY, 24)
    given.prepare([Request((5, 6), 7)] * problems)
    assert given.slots == 24


def test_slots_that_were_given_are_not_changed(monkeypatch):
    engine, _ = rehearsing(monkeypatch, fitting=30, number=64)
    with pytest.raises(UserError, match="64 slots do not fit"):
        engine.prepare([Request(PROMPTS[0], 3)])
    engine, steps = rehearsing(monkeypatch, fitting=80, number=72)
    engine.prepare([Request(PROMPTS[0], 3)])
    assert engine.slots == 72
    assert len(steps) == 2


def test_too_little_memory_for_the_fewest_slots_is_an_error(monkeypatch):
    engine, steps = rehearsing(monkeypatch, fitting=0)
    with pytest.raises(UserError, match="do not fit"):
        engine.prepare([Request(PROMPTS[0], 3)] * 40)
    assert steps[-1][0] == MIN_SLOTS


@pytest.mark.parametrize(("progress", "terminal"), [(True, True), (True, False), (False, True)])
def test_a_progress_bar_is_for_terminals(capsys, monkeypatch, progress, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    engine = SlotsEngine(loaded_model("llama"), GREEDY, 4, progress=progress)
    engine.generate([Request(PROMPTS[0], 2)])
    assert ("/1" in capsys.readouterr().err) == (progress and terminal)


@pytest.fixture(scope="module")
def on_gpu():
    loaded = loaded_model("llama")
    device = torch.device("cuda")
    model = copy.deepcopy(loaded.model).to(device)
    return dataclasses.replace(loaded, model=model, blocks=decoder_blocks(model), device=device)


@needs_cuda
@pytest.mark.parametrize("kernel", ["blocks", "flex"])
@pytest.mark.parametrize("compiled", [False, True])
def test_captured_steps_equal_the_reference(on_gpu, compiled, kernel):
    dac = ResidualSteering(1, direction(), 1.0, dac=Dac(0.5, 0.8, 3.0, 2.0))
    kinds = (
        None,
        dac,
        ResidualSteering(1, direction(), 1.0),
        ResidualSteering(2, direction(), 1.0, "all"),
        PromptStartSteering(1, torch.stack([direction(n) for n in range(20)]), 1.0),
    )
    if not compiled:  # no run compiles attention heads
        heads = HeadSteering((0, 2), torch.stack([direction(n) for n in (0, 1)])[None], 0.3)
        dynamic = dataclasses.replace(heads, schedule="dynamic", dac=Dac(-1.0, 0.6, 2.0, 0.3))
        kinds += (heads, dataclasses.replace(heads, schedule="start"), dynamic)
    requests = [Request(prompt, 70, kind) for prompt in PROMPTS[:10] for kind in kinds]
    wanted = ReferenceEngine(on_gpu, GREEDY, 8).generate(requests)
    engine = SlotsEngine(on_gpu, GREEDY, 16, compiled=compiled, kernel=kernel)
    found = engine.generate(requests)
    assert found == wanted
    assert [g.alpha_t for g in found] == pytest.approx([g.alpha_t for g in wanted], abs=1e-3)
    assert all(lane.decoder._graphs for lane in engine._lanes.values())


@needs_cuda
@pytest.mark.parametrize("kernel", ["blocks", "flex"])
def test_neighbours_change_no_token_in_bfloat16_on_a_gpu(on_gpu, kernel):
    model = copy.deepcopy(on_gpu.model).to(torch.bfloat16)
    loaded = dataclasses.replace(
        on_gpu, model=model, blocks=decoder_blocks(model), dtype=torch.bfloat16
    )
    engine = SlotsEngine(loaded, GREEDY, 64, kernel=kernel)
    watched = [Request(prompt, 60) for prompt in PROMPTS[:10]]
    zeros = [
        Request(prompt, 60, ResidualSteering(1, direction(), 0.0, "all")) for prompt in PROMPTS[:10]
    ]
    others = [Request(prompt, 30, ResidualSteering(2, direction(), 2.0)) for prompt in PROMPTS]
    alone = engine.generate(watched)
    assert engine.generate([*others, *watched])[-10:] == alone
    assert engine.generate([*zeros, *others])[:10] == alone
