"""A synthetic search from the first to the last token: trials × problems through the slots engine.

    python benchmarks/search.py --shape rho-1b
    python benchmarks/search.py --model FOLDER --trials 8 --problems 32 --new-tokens 40

Rounds of trials run together over chunks of problems; nothing is pruned.
Answers end at random, as real ones do: after a quarter of the limit to all of it.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import common
from snakesteer.data.prompts import common_prefix
from snakesteer.engine.interface import Decoding
from snakesteer.engine.slots.engine import SlotsEngine


def main() -> None:
    """Run the search and print its time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common.add_model_arguments(parser)
    parser.add_argument("--slots", type=int, default=None)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--round", type=int, default=10, help="trials asked for together")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--chunk", type=int, default=100, help="problems between two reports")
    parser.add_argument("--shared-tokens", type=int, default=500, help="of the few-shot prefix")
    parser.add_argument("--own-tokens", type=int, default=100)
    parser.add_argument("--new-tokens", type=int, default=256)
    options = parser.parse_args()

    loaded = common.load(options)
    print(common.describe(loaded))
    prompts = common.make_prompts(
        loaded, options.problems, options.shared_tokens, options.own_tokens
    )
    generator = torch.Generator().manual_seed(2)
    started = time.perf_counter()
    shared = common_prefix(prompt[:-1] for prompt in prompts)  # each keeps a token of its own
    engine = SlotsEngine(loaded, Decoding(), options.slots, shared_prefix=shared)
    tokens = 0
    for first in range(0, options.trials, options.round):
        alphas = [float(trial) for trial in range(first, first + options.round)]
        alphas = alphas[: options.trials - first]
        for chunk in range(0, options.problems, options.chunk):
            some = prompts[chunk : chunk + options.chunk]
            requests = common.make_requests(loaded, some, alphas, options.new_tokens)
            lengths = torch.randint(
                options.new_tokens // 4,
                options.new_tokens + 1,
                (len(requests),),
                generator=generator,
            ).tolist()
            requests = [
                dataclasses.replace(request, max_new_tokens=length)
                for request, length in zip(requests, lengths, strict=True)
            ]
            tokens += sum(g.num_tokens for g in engine.generate(requests))
    seconds = time.perf_counter() - started
    answers = options.trials * options.problems
    print(
        f"{options.trials} trials × {options.problems} problems with {engine.slots} slots: "
        f"{seconds:.1f} s, {answers / seconds:,.1f} answers/s, {tokens / seconds:,.0f} tok/s"
    )
    print(f"peak memory {common.peak_memory(loaded.device):.2f} GB")


if __name__ == "__main__":
    main()
