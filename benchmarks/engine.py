"""Slots against HuggingFace ``generate``: the same model, prompts and steering in one run.

    python benchmarks/engine.py --shape rho-1b
    python benchmarks/engine.py --model FOLDER --slots 32

(a) ``generate`` with a hook at batch 8, (b) ``generate`` at its best of several batch sizes,
(c) the slots engine. The slow ones answer only as many requests as their option says; rates are
tokens per second of the whole call, prompts included.

(d) transformers' own continuous batching with ``--continuous``, at one strength.

(e) vLLM with ``--vllm``, where it is installed: all requests, each steered by itself, and the same
ones without steering. Its prefix cache is empty when the clock starts. It needs ``--model``.

``--dac`` compares CAA with DAC, which takes three passes above the steered layer; ``--distinct``
answers the same prompts with 1, 8, … different vectors in one batch.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import common, continuous
from snakesteer.data.prompts import common_prefix
from snakesteer.engine.interface import Decoding, Engine, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.engine.vllm.engine import VllmEngine
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering


def rate(engine: Engine, requests: list[Request], device: torch.device) -> float:
    """New tokens per second."""
    common.synchronize(device)
    started = time.perf_counter()
    generations = engine.generate(requests)
    common.synchronize(device)
    return sum(g.num_tokens for g in generations) / (time.perf_counter() - started)


def report_dac(engine: SlotsEngine, prompts: list[tuple[int, ...]], new_tokens: int) -> None:
    """What a token costs under DAC, against one under CAA, by the steered layer."""
    dac = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=2.0, probe_alpha=1.0)
    depth = len(engine.loaded.blocks)
    for layer in sorted({depth // 3, depth // 2, 2 * depth // 3}):
        rates = []
        for some in (None, dac):
            requests = common.make_requests(
                engine.loaded, prompts, [0.5], new_tokens, layer=layer, dac=some
            )
            engine.generate(requests[: engine.slots])  # captures and compiles
            rates.append(max(rate(engine, requests, engine.loaded.device) for _ in range(2)))
        print(
            f"    layer {layer} of {depth}: CAA {rates[0]:,.0f} tok/s, DAC {rates[1]:,.0f} tok/s, "
            f"{rates[0] / rates[1]:.2f}× the cost"
        )


def report_distinct(
    engine: SlotsEngine, prompts: list[tuple[int, ...]], counts: list[int], new_tokens: int
) -> None:
    """Rates with so many different vectors, layers and strengths in one batch."""
    generator = torch.Generator().manual_seed(3)
    hidden, depth = engine.loaded.model.config.hidden_size, len(engine.loaded.blocks)
    for count in counts:
        steerings = [
            ResidualSteering(
                index % depth, torch.randn(hidden, generator=generator) / hidden**0.5, 0.5 + index
            )
            for index in range(count)
        ]
        requests = [
            Request(prompt, new_tokens, steerings[index % count])
            for index, prompt in enumerate(prompts)
        ]
        engine.generate(requests[: engine.slots])
        print(f"    K = {count}: {rate(engine, requests, engine.loaded.device):,.0f} tok/s")


def report_vllm(loaded: LoadedModel, requests: list[Request], slots: SlotsEngine) -> None:
    """Rates of vLLM, and how many of its answers are those of the slots engine."""
    engine = VllmEngine(loaded, Decoding(), slots=slots.slots)
    engine.generate(requests[: slots.slots])  # starts it
    rates = []
    for some in (requests, [replace(request, steering=None) for request in requests]):
        engine.server.engine.reset_prefix_cache()
        rates.append(rate(engine, some, loaded.device))
    few = requests[: 4 * slots.slots]
    pairs = zip(engine.generate(few), slots.generate(few), strict=True)
    same = sum(one.token_ids == other.token_ids for one, other in pairs)
    print(f"(e) vLLM {engine.record['vllm']}: {rates[0]:,.0f} tok/s; unsteered {rates[1]:,.0f}")
    print(f"    {same} of {len(few)} answers are those of the slots engine")


def main() -> None:
    """Run the three and print their rates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common.add_model_arguments(parser)
    parser.add_argument("--slots", type=int, default=None)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--attention", choices=["blocks", "flex"], default="blocks")
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--alphas", type=int, default=4, help="strengths every prompt runs with")
    parser.add_argument("--shared-tokens", type=int, default=0, help="of a few-shot prefix")
    parser.add_argument("--own-tokens", type=int, default=128, help="of a prompt behind it")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--peer-requests", type=int, default=16)
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[64, 256, 1024])
    parser.add_argument("--dac", action="store_true", help="CAA against DAC")
    parser.add_argument("--distinct", type=int, nargs="*", default=[], help="numbers of vectors")
    parser.add_argument("--continuous", action="store_true", help="transformers' generate_batch")
    parser.add_argument("--vllm", action="store_true", help="vLLM, with --model")
    options = parser.parse_args()
    if options.vllm and not options.model:
        parser.error("--vllm needs --model: vLLM reads a model from its files")

    loaded = common.load(options)
    print(common.describe(loaded))
    prompts = common.make_prompts(
        loaded, options.prompts, options.shared_tokens, options.own_tokens
    )
    alphas = [float(alpha) for alpha in range(options.alphas)]
    requests = common.make_requests(loaded, prompts, alphas, options.new_tokens)

    shared = common_prefix(prompt[:-1] for prompt in prompts)  # each keeps a token of its own
    slots = SlotsEngine(
        loaded,
        Decoding(),
        options.slots,
        compiled=options.compile,
        shared_prefix=shared if options.shared_tokens else (),
        kernel=options.attention,
    )
    slots.generate(requests[: slots.slots])  # captures, compiles and reads the shared prefix
    before = slots.work["plain"]
    fast = rate(slots, requests, loaded.device)
    print(f"(c) slots, {slots.slots} of them: {fast:,.0f} tok/s ({len(requests)} requests)")
    memory = common.peak_memory(loaded.device)
    work = slots.work["plain"] - before
    step = work.seconds / work.steps
    own = options.own_tokens + options.new_tokens // 2
    floor, limit = common.floor_seconds(
        loaded, slots.shape, slots.slots, options.shared_tokens, own
    )
    print(
        f"    step {step * 1e3:.2f} ms, floor {floor * 1e3:.2f} ms ({limit}): {step / floor:.2f}×"
    )
    print(f"    {work.occupancy(slots.slots):.0%} of the slots busy, peak memory {memory:.2f} GB")
    if options.dac:
        report_dac(slots, prompts, options.new_tokens)
    if options.distinct:
        report_distinct(slots, prompts, options.distinct, options.new_tokens)
    if options.vllm:
        report_vllm(loaded, requests, slots)

    peer = requests[: options.peer_requests]
    ReferenceEngine(loaded, Decoding(), 8).generate(
        common.make_requests(loaded, prompts[:8], alphas[:1], 2)
    )
    slow = rate(ReferenceEngine(loaded, Decoding(), 8), peer, loaded.device)
    print(f"(a) generate, batch 8: {slow:,.0f} tok/s; slots are {fast / slow:,.1f}×")
    best = (slow, 8)
    for batch_size in options.batch_sizes:
        some = requests[:batch_size]
        if len(some) == batch_size:
            engine = ReferenceEngine(loaded, Decoding(), batch_size)
            best = max(best, (rate(engine, some, loaded.device), batch_size))
    print(f"(b) generate, batch {best[1]}: {best[0]:,.0f} tok/s; slots are {fast / best[0]:,.1f}×")
    if options.continuous:
        batched = continuous.rate(loaded, peer)
        print(f"(d) generate_batch: {batched:,.0f} tok/s; slots are {fast / batched:,.1f}×")


if __name__ == "__main__":
    main()
