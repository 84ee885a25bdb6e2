"""How full the engine's slots are during a search. No model: answers have drawn lengths.

    python benchmarks/occupancy.py

The search is the real one (`run_study`), with an engine that only counts. It has two lanes of
slots, one for constant and one for dynamic strengths (DAC); every step advances the fuller lane,
and one of DAC takes 2.2 times as long. *Busy* is the share of the slots of the advanced lane that
hold a request, weighted by time; *useful* the share of the decoded tokens whose answers count, as
those of pruned trials' later chunks do not. *In rounds* is how busy the same slots are where trials
are answered in rounds, chunk by chunk together, and a chunk begins when the last one has ended.
"""

import argparse
import heapq
import itertools
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from typing import ClassVar

import numpy as np
import optuna
import torch

from snakesteer.config import GenerationConfig, PromptConfig, SearchConfig, SteeringConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Generation, Request
from snakesteer.evaluation.answers import (
    Answer,
    AnswerQueue,
    chunks,
    grade_generation,
    make_request,
)
from snakesteer.evaluation.shown_text import PLAIN
from snakesteer.search.desk import ProblemDesk
from snakesteer.search.plan import Plan, fitting_trials
from snakesteer.search.samplers import make_pruner
from snakesteer.search.study import run_study
from snakesteer.steering.dac import Dac
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.vector import Vector

DAC_COST = 2.2
DAC = Dac(1.0, 0.5, 2.0, 0.1)
LAYERS = tuple(range(6, 19, 2))
DIRECTIONS = ("caa", "probe")
# As long as the residual stream, so that α is the dose.
VECTORS = {
    (name, layer): Vector(name, layer, np.ones(4, np.float32), 2.0)
    for name in DIRECTIONS
    for layer in LAYERS
}


@dataclass(frozen=True)
class Shape:
    """A search and its engine.

    Attributes:
        search: Trials and chunks.
        problems: Of the validation split.
        slots: Of each lane.
        limit: New tokens at most.
        mean: Length of an answer.
        deviation: Of the length.
        runaway: Share of the answers that run to the limit.
        ticks: Steps between two looks at the tokens.
    """

    search: SearchConfig
    problems: int
    slots: int
    limit: int
    mean: float
    deviation: float
    runaway: float
    ticks: int


def full(slots: int, val: int = 319, **search: int) -> Shape:
    """config/gsm8k-full.yaml on a GPU."""
    config = SearchConfig(
        n_trials=50, n_startup_trials=10, pruner_startup_trials=5, chunk_size=50, **search
    )
    return Shape(config, val, slots, limit=512, mean=130, deviation=50, runaway=0.03, ticks=8)


def embedded(slots: int = 64, **search: int) -> Shape:
    """config/config.yaml on a CPU."""
    config = SearchConfig(**search)
    return Shape(config, 96, slots, limit=256, mean=90, deviation=35, runaway=0.03, ticks=1)


class Bytes:
    """A tokenizer: one token a byte."""

    bos_token_id = eos_token_id = unk_token = mask_token = None
    all_special_tokens = ()
    added_tokens_decoder: ClassVar[dict[int, str]] = {}

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        """Token ids."""
        return {"input_ids": [*text.encode()]}


@dataclass
class Lane:
    """The slots of one kind of steering.

    Attributes:
        cost: Time of a step.
        queue: Priority and ticket of those that wait.
        live: Ticket → tokens to come.
    """

    cost: float
    queue: list[tuple[int, int]] = field(default_factory=list)
    live: dict[int, int] = field(default_factory=dict)


class CountingSession:
    """A session that decodes nothing, and counts slots and steps.

    Args:
        shape: Slots and lengths.
        seed: Of the lengths.

    Attributes:
        time: Of all steps.
        busy: Slots in use, times their time.
        decoded: Tokens.
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self.seed = seed
        self.lanes = (Lane(1.0), Lane(DAC_COST))
        self.requests: dict[int, tuple[Request, int]] = {}
        self.tickets = itertools.count()
        self.time = self.busy = 0.0
        self.decoded = 0

    def add(self, requests: Sequence[Request], priority: int = 0) -> list[int]:
        """Queue requests."""
        tickets = []
        for request in requests:
            ticket = next(self.tickets)
            self.requests[ticket] = (request, self._length(request))
            heapq.heappush(self.lanes[request.is_dynamic].queue, (priority, ticket))
            tickets.append(ticket)
        return tickets

    def drop(self, tickets: Collection[int]) -> None:
        """Forget requests."""
        for ticket in tickets:
            self.requests.pop(ticket, None)
            for lane in self.lanes:
                lane.live.pop(ticket, None)

    def ended(self) -> list[tuple[int, Generation]]:
        """Step until a request ends."""
        while True:
            for lane in self.lanes:
                self._fill(lane)
            lane = max(self.lanes, key=lambda lane: len(lane.live))
            if not lane.live:
                return []
            done = self._step(lane)
            if done:
                return [(ticket, self._generation(*self.requests.pop(ticket))) for ticket in done]

    def _length(self, request: Request) -> int:
        rng = self._rng(request, 0)
        if rng.random() < self.shape.runaway:
            return self.shape.limit
        length = rng.normal(self.shape.mean, self.shape.deviation)
        return int(np.clip(length, 20, self.shape.limit))

    def _rng(self, request: Request, use: int) -> np.random.Generator:
        """Of a request's own, whatever came before it."""
        dose = int(1e9 * (1.0 + _dose(request)))
        return np.random.default_rng((self.seed, use, request.seed, dose))

    def _fill(self, lane: Lane) -> None:
        while lane.queue and len(lane.live) < self.shape.slots:
            _, ticket = heapq.heappop(lane.queue)
            if ticket in self.requests:
                lane.live[ticket] = self.requests[ticket][1]

    def _step(self, lane: Lane) -> list[int]:
        """Steps up to the look at which a request has ended; those that have."""
        looks = -(-min(lane.live.values()) // self.shape.ticks)
        steps = looks * self.shape.ticks
        used = sum(min(steps, left) for left in lane.live.values())
        self.time += steps * lane.cost
        self.busy += used * lane.cost
        self.decoded += used
        lane.live = {ticket: left - steps for ticket, left in lane.live.items()}
        done = [ticket for ticket, left in lane.live.items() if left <= 0]
        for ticket in done:
            del lane.live[ticket]
        return done

    def _generation(self, request: Request, length: int) -> Generation:
        """Right more often near a dose of 0.1, so that a pruner has something to do."""
        right = self._rng(request, 1).random() < 0.6 - abs(_dose(request) - 0.1)
        return Generation((), f"#### {int(right)}", "eos", length)


def _dose(request: Request) -> float:
    return request.steering.alpha if isinstance(request.steering, ResidualSteering) else 0.0


def unsteered(shape: Shape) -> tuple[list[Problem], list[Answer], Prompter]:
    """Problems, their answers without steering, and what asks them."""
    problems = [Problem(f"p{n}", f"{n} ?", "#### 1", "1") for n in range(shape.problems)]
    prompter = Prompter(PromptConfig(shots=0), (), Bytes())
    request = make_request(prompter, problems[0], None, GenerationConfig())
    half = [Generation((), f"#### {n % 2}", "eos", 100) for n in range(shape.problems)]
    answers = [
        grade_generation(problem, request, text, PLAIN)
        for problem, text in zip(problems, half, strict=True)
    ]
    return problems, answers, prompter


def search(shape: Shape, seed: int) -> dict[str, float]:
    """One search; what its slots did."""
    problems, baseline, prompter = unsteered(shape)
    config = shape.search.model_copy(update={"seed": seed})
    in_flight = config.trials_in_flight or fitting_trials(shape.slots, shape.problems)
    steering = SteeringConfig(methods=["caa", "dac"], directions=[*DIRECTIONS])
    plan = Plan(config, steering, LAYERS, VECTORS, baseline, in_flight, shape.slots)
    study = optuna.create_study(direction="maximize", pruner=make_pruner(config, plan.num_chunks))
    session = CountingSession(shape, seed)
    queue = AnswerQueue(session, prompter, GenerationConfig())
    run_study(study, plan, ProblemDesk(queue, problems, plan, lambda: None))
    counted = sum(t.user_attrs["new_tokens"] for t in study.trials[1:])
    return {
        "in flight": in_flight,
        "pruned": sum(t.state.name == "PRUNED" for t in study.trials),
        "time": session.time,
        "busy": session.busy / session.time / shape.slots,
        "useful": counted / session.decoded,
    }


def in_rounds(shape: Shape, seed: int) -> float:
    """How busy the slots are in rounds of as many trials as have a chunk in them, none pruned."""
    config, session = shape.search, CountingSession(shape, seed)
    problems, _, prompter = unsteered(shape)
    rng = np.random.default_rng(seed)
    together = min(max(1, shape.slots // config.chunk_size), max(2, config.n_trials // 8))
    for first in range(1, config.n_trials, together):
        steerings = [
            ResidualSteering(
                6,
                torch.ones(4),
                float(rng.uniform(-0.3, 0.3)),
                dac=DAC if rng.random() < 0.5 else None,
            )
            for _ in range(first, min(first + together, config.n_trials))
        ]
        for part in chunks(problems, config.chunk_size):
            queue = AnswerQueue(session, prompter, GenerationConfig())
            queue.add([(problem, steering) for steering in steerings for problem in part])
            while queue.ended():
                pass
    return session.busy / session.time / shape.slots


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shapes = {"default run": embedded()} | {
        f"gsm8k-full, {slots} slots": full(slots) for slots in (128, 256, 512, 1024)
    }
    print("| Search | Trials in flight | Pruned | In rounds | Busy | Useful |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, shape in shapes.items():
        seeds = range(options.seeds)
        found = [search(shape, seed) for seed in seeds]
        mean = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
        before = np.mean([in_rounds(shape, seed) for seed in seeds])
        print(
            f"| {name} | {mean['in flight']:.0f} | {mean['pruned']:.0f} | {before:.0%} | "
            f"{mean['busy']:.0%} | {mean['useful']:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
