"""A synthetic search through the slots engine, in rounds and without barriers, in one run.

    python benchmarks/search.py --shape rho-1b
    python benchmarks/search.py --model FOLDER --trials 8 --problems 32 --new-tokens 40

Every second trial is DAC. *In rounds*, trials go chunk by chunk together and wait for each other.
*Without barriers*, so many trials are in flight: the next one starts when the first of them has
ended. Nothing is pruned, and both decode the same answers, which end at random, as real ones do:
after a quarter of the limit to all of it. *Busy* slots hold a request; a step of DAC counts as 2.2.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import common
from benchmarks.occupancy import DAC_COST
from snakesteer.data.prompts import common_prefix
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.slots.engine import SlotsEngine
from snakesteer.search.plan import fitting_trials
from snakesteer.steering.dac import Dac

DAC = Dac(entropy_threshold=0.5, ptop=0.8, max_alpha=2.0, probe_alpha=1.0)


def in_rounds(engine: SlotsEngine, trials: list[list[Request]], chunk: int, together: int) -> None:
    """Trials of a round wait for each other behind every chunk."""
    for first in range(0, len(trials), together):
        some = trials[first : first + together]
        for start in range(0, len(some[0]), chunk):
            engine.generate([one for trial in some for one in trial[start : start + chunk]])


def in_flight(engine: SlotsEngine, trials: list[list[Request]], together: int) -> None:
    """A trial starts when the one so many places before it, and all before that, have ended."""
    left: dict[int, int] = {}  # trial → answers to come
    trial_of: dict[int, int] = {}  # ticket → trial
    told = started = 0
    with engine.session() as session:
        while told < len(trials):
            while started < min(told + together, len(trials)):
                for ticket in session.add(trials[started], priority=started):
                    trial_of[ticket] = started
                left[started] = len(trials[started])
                started += 1
            for ticket, _ in session.ended():
                left[trial_of[ticket]] -= 1
            while left.get(told) == 0:
                told += 1


def report(name: str, engine: SlotsEngine, run: Callable[[], None], tokens: int) -> None:
    """Time a search and say how full its slots were."""
    before = engine.work
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    work = {kind: engine.work[kind] - before[kind] for kind in before}
    cost = {"plain": 1.0, "dynamic": DAC_COST}
    live = sum(cost[kind] * work[kind].live for kind in work)
    room = sum(cost[kind] * work[kind].steps for kind in work) * engine.slots
    print(f"{name}: {seconds:.1f} s, {tokens / seconds:,.0f} tok/s, {live / room:.0%} busy")


def main() -> None:
    """Run the search both ways and print the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common.add_model_arguments(parser)
    parser.add_argument("--slots", type=int, default=None)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--round", type=int, default=6, help="trials of a round")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--chunk", type=int, default=50, help="problems between two reports")
    parser.add_argument("--shared-tokens", type=int, default=500, help="of the few-shot prefix")
    parser.add_argument("--own-tokens", type=int, default=100)
    parser.add_argument("--new-tokens", type=int, default=256)
    options = parser.parse_args()

    loaded = common.load(options)
    print(common.describe(loaded))
    prompts = common.make_prompts(
        loaded, options.problems, options.shared_tokens, options.own_tokens
    )
    shared = common_prefix(prompt[:-1] for prompt in prompts)  # each keeps a token of its own
    engine = SlotsEngine(loaded, Decoding(), options.slots, shared_prefix=shared)
    limit, generator = options.new_tokens, torch.Generator().manual_seed(2)
    trials = []
    for trial in range(options.trials):
        dac = DAC if trial % 2 else None
        requests = common.make_requests(loaded, prompts, [0.1 * (1 + trial)], limit, dac=dac)
        lengths = torch.randint(limit // 4, limit + 1, (len(requests),), generator=generator)
        trials.append(
            [
                dataclasses.replace(request, max_new_tokens=length)
                for request, length in zip(requests, lengths.tolist(), strict=True)
            ]
        )
    tokens = sum(request.max_new_tokens for trial in trials for request in trial)
    engine.prepare([request for trial in trials for request in trial])
    in_flight(engine, [trial[: engine.slots] for trial in trials[:2]], 2)  # captures and compiles

    print(f"{options.trials} trials × {options.problems} problems, {engine.slots} slots")
    together = fitting_trials(engine.slots, options.problems)
    report(
        f"in rounds of {options.round}",
        engine,
        lambda: in_rounds(engine, trials, options.chunk, options.round),
        tokens,
    )
    report(
        f"without barriers, {together} in flight",
        engine,
        lambda: in_flight(engine, trials, together),
        tokens,
    )
    print(f"peak memory {common.peak_memory(loaded.device):.2f} GB")


if __name__ == "__main__":
    main()
