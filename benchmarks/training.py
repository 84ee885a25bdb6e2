"""How fast `reinforce` draws answers and learns from them, with one vector per block.

    python benchmarks/training.py --shape qwen2.5-1.5b

Random weights and prompts: rewards are drawn from the answers' tokens, and speed does not depend on
them. Two trainings from the same seed say whether the vectors have the same bytes.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from benchmarks import common
from snakesteer.config.training import TrainingConfig
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.steering.positions import Positions
from snakesteer.vectors.training.learner import Learner, new_learner
from snakesteer.vectors.training.lessons import Example
from snakesteer.vectors.training.loop import steering_at, unsteered_stream
from snakesteer.vectors.training.reading import BatchReader
from snakesteer.vectors.training.reinforce import Rollout, reinforce


def main() -> None:
    """Train twice and print rates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common.add_model_arguments(parser)
    parser.add_argument("--slots", type=int, default=None)
    parser.add_argument("--problems", type=int, default=16, help="of a step")
    parser.add_argument("--samples", type=int, default=64, help="answers to each")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--scope", default="all")
    parser.add_argument("--kl", type=float, default=0.01)
    options = parser.parse_args()

    loaded = common.load(options)
    print(common.describe(loaded))
    count = options.problems * options.steps
    prompts = common.make_prompts(loaded, count, 0, options.prompt_tokens)
    layers = range(len(loaded.blocks))
    positions = Positions(options.scope)
    config = TrainingConfig(
        objective="reinforce",
        epochs=1,
        samples=options.samples,
        problems_per_step=options.problems,
        batch_tokens=options.batch_tokens,
        held_out=0.0,
        kl=options.kl,
    )
    engine = SlotsEngine(loaded, Decoding(temperature=1.0), options.slots)
    read = [Example((*prompt, 0), len(prompt)) for prompt in prompts]
    reader = BatchReader(loaded, read, steering_at(layers, None, positions))
    stream = unsteered_stream(reader, [[number] for number in range(count)])
    drawing: list[tuple[float, int]] = []  # seconds and tokens of a step

    def draw(names: Sequence[str], vectors: Tensor, seed: int) -> list[Rollout]:
        # Zero vectors would be no steering at all, which is cheaper than what is measured.
        moved = vectors + 1e-3 * vectors.new_ones(vectors.shape)
        steering = steering_at(layers, moved, positions)
        asked = [(int(name), sample) for name in names for sample in range(options.samples)]
        requests = [
            Request(prompts[number], options.new_tokens, steering, seed + i)
            for i, (number, _) in enumerate(asked)
        ]
        started = time.perf_counter()
        found = engine.generate(requests)
        common.synchronize(loaded.device)
        drawing.append((time.perf_counter() - started, sum(one.num_tokens for one in found)))
        return [
            Rollout(
                str(number),
                Example((*prompts[number], *one.token_ids), len(prompts[number])),
                float(sum(one.token_ids) % 2),
            )
            for (number, _), one in zip(asked, found, strict=True)
        ]

    def run() -> tuple[Learner, float]:
        drawing.clear()
        learner = new_learner(loaded, stream, config)
        names = [str(number) for number in range(count)]
        started = time.perf_counter()
        reinforce(loaded, learner, names, [], draw, layers, config, positions)
        common.synchronize(loaded.device)
        return learner, time.perf_counter() - started

    first, _ = run()  # captures and compiles
    again, seconds = run()
    drawn, tokens = (sum(part) for part in zip(*drawing, strict=True))
    learned = seconds - drawn
    print(f"answers: {tokens:,} tokens in {drawn:.2f} s, {tokens / drawn:,.0f} tok/s")
    work = engine.work["plain"]
    print(f"    {engine.slots} slots, step {work.seconds / work.steps * 1e3:.2f} ms")
    print(f"update: {learned:.2f} s, {tokens / learned:,.0f} tok/s of the answers")
    print(f"together: {tokens / seconds:,.0f} tok/s, {seconds / options.steps:.2f} s a step")
    print(f"peak memory {common.peak_memory(loaded.device):.2f} GB")
    print(f"same bytes twice: {'yes' if torch.equal(first.doses, again.doses) else 'NO'}")


if __name__ == "__main__":
    main()
