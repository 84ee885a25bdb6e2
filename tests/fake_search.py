"""A search without a model: answers that depend on the dose alone, in processes that can be killed.

Processes are forked from a server that has imported everything once, so that twenty of them start
in a second, and each has a process group of its own.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from snakesteer.config import GenerationConfig, PromptConfig, SearchConfig, SteeringConfig
from snakesteer.config.params import leaves
from snakesteer.data.problem import Problem, write_problems
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Generation, Request
from snakesteer.evaluation.answers import answer_all, write_answers
from snakesteer.search.journal import STUDY_NAME
from snakesteer.search.run import SearchInputs, search
from snakesteer.steering.vector import Vector, write_vector
from tests.fake_engine import FakeSession, FunctionEngine

LAYERS = (1, 3, 5)
PROBLEMS, CHUNK = 24, 8
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


class Tokens:
    """One token a byte."""

    bos_token_id = eos_token_id = unk_token = mask_token = None
    all_special_tokens: tuple[str, ...] = ()
    added_tokens_decoder: ClassVar[dict[int, str]] = {}

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}


PROMPTER = Prompter(PromptConfig(shots=0), (), Tokens())


def is_correct(number: int, dose: float) -> bool:
    """Whether a problem is answered right: most of all at a dose of 0.2."""
    return (number * 37 % 100) / 100 < 0.8 - 2 * abs(dose - 0.2)


def accuracy_at(dose: float, problems: int = PROBLEMS) -> float:
    """What a trial must come to."""
    return sum(is_correct(number, dose) for number in range(problems)) / problems


class FakeEngine(FunctionEngine):
    """Takes its time, and answers by the dose, in any order."""

    def __init__(self, pause: float) -> None:
        super().__init__(CHUNK, random.Random(os.getpid()))
        self.pause = pause

    @contextmanager
    def session(self) -> Iterator["SlowSession"]:
        """A session that takes its time."""
        yield SlowSession(self, self.pause)

    def answer(self, request: Request) -> Generation:
        """By the number of the problem and the dose."""
        number = int(bytes(request.prompt_ids).split()[3])
        # The vectors are as long as the residual stream: α is the dose.
        dose = request.steering.alpha if request.steering else 0.0
        return Generation((), f"#### {number + (not is_correct(number, dose))}", "eos", 3)


class SlowSession(FakeSession):
    """Takes its time for every few answers.

    Args:
        engine: Answers.
        pause: In seconds, on average.
    """

    def __init__(self, engine: FunctionEngine, pause: float) -> None:
        super().__init__(engine)
        self.pause = pause

    def ended(self) -> list[tuple[int, Generation]]:
        """Answer the next ones."""
        time.sleep(self.pause * random.uniform(0.5, 1.5))
        return super().ended()


def make_inputs(folder: Path, workers: int = 1, **changes: Any) -> SearchInputs:
    """Write what a search reads."""
    problems = [
        Problem(f"p{number}", f"What is {number} ?", f"#### {number}", str(number))
        for number in range(PROBLEMS)
    ]
    write_problems(folder / "val.jsonl", problems)
    [answers] = answer_all(FakeEngine(0.0), PROMPTER, problems, [None], GenerationConfig())
    write_answers(folder / "baseline.jsonl", answers)
    files = []
    for layer in LAYERS:
        files.append(str(folder / f"layer_{layer}.safetensors"))
        vector = Vector("caa", layer, np.ones(4, np.float32), 2.0)
        write_vector(files[-1], vector, {})
    settings = {"chunk_size": CHUNK, "trials_in_flight": 2, "workers": workers, **changes}
    return SearchInputs(
        problems=str(folder / "val.jsonl"),
        baseline=str(folder / "baseline.jsonl"),
        vectors=tuple(files),
        others=(),
        layers=LAYERS,
        params={
            **leaves("search", SearchConfig(**settings)),
            **leaves(
                "steering",
                SteeringConfig(methods=["caa"], directions=["caa"], strength=(-0.5, 0.5)),
            ),
            **leaves("generation", GenerationConfig()),
        },
    )


def start(
    inputs: SearchInputs,
    journal: Path,
    worker: int = 0,
    pause: float = 0.005,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> BaseProcess:
    """Run a worker in a process, which leads its process group; returns when it has begun."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(
        target=_work, args=(inputs, journal, worker, pause, dict(environment), sender)
    )
    process.start()
    sender.close()
    receiver.recv()
    return process


def _work(
    inputs: SearchInputs,
    journal: Path,
    worker: int,
    pause: float,
    environment: dict[str, str],
    sender: Any,
) -> None:
    os.setpgrp()
    os.environ.update(environment)
    # A shell starts background jobs with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed(os.getpid())
    sender.send("begun")
    output = journal.with_name(f"worker_{worker}.json")
    search(inputs, PROMPTER, FakeEngine(pause), CHUNK, journal, worker, output, check=lambda: None)


def read_trials(journal: Path) -> list[FrozenTrial]:
    """All trials, as somebody reads them who has no part in the search; none before it begins."""
    if not journal.exists():
        return []
    storage = JournalStorage(JournalFileBackend(str(journal)))
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=storage).trials
    except KeyError:
        return []


def finished(journal: Path) -> dict[int, tuple[Any, ...]]:
    """All that is known of each finished trial, by its number."""
    return {
        t.number: (t.state, t.params, t.values, t.user_attrs, t.intermediate_values)
        for t in read_trials(journal)
        if t.state in FINISHED
    }


def check_finished(trials: list[FrozenTrial], n_trials: int) -> None:
    """Assert that a study is whole: all trials asked for, no point twice, all values right."""
    ended = [trial for trial in trials if trial.state in FINISHED]
    assert len(ended) == n_trials
    assert {t.state for t in trials} <= {*FINISHED, TrialState.FAIL}
    assert [trial.number for trial in trials] == list(range(len(trials)))
    unsteered = [t for t in ended if t.user_attrs["steering_alpha"] == 0.0]
    assert {trial.state for trial in unsteered} == {TrialState.COMPLETE}
    points = [tuple(sorted(t.params.items())) for t in ended if t not in unsteered]
    assert len(set(points)) == len(points)
    for trial in ended:
        seen = trial.user_attrs["problems"]
        right = accuracy_at(trial.user_attrs["steering_alpha"], seen)
        assert trial.user_attrs["accuracy_by_chunk"][-1] == right
        assert (trial.state == TrialState.COMPLETE) == (seen == PROBLEMS)
