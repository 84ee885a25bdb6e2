"""A worker's share of the study, from files to files."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from snakesteer.config import GenerationConfig, SearchConfig, SteeringConfig
from snakesteer.config.params import section
from snakesteer.data.problem import read_problems
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.engine.open import busy_share, prepare
from snakesteer.evaluation.answers import AnswerQueue, make_request, read_answers
from snakesteer.records.files import sha256_file, write_json
from snakesteer.search.desk import ProblemDesk
from snakesteer.search.journal import ask_lock, finished_trials, one_process, open_study
from snakesteer.search.kept import searched
from snakesteer.search.objectives import KlOf, directions
from snakesteer.search.outages import through_outages
from snakesteer.search.plan import Plan, fitting_trials
from snakesteer.search.samplers import make_pruner
from snakesteer.search.study import accuracy_of, run_study, surplus
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate, VectorKey
from snakesteer.steering.kinds import Steering
from snakesteer.steering.kl_unit import read_curves
from snakesteer.steering.vector import AnyVector, read_vectors

logger = logging.getLogger(__name__)

# More trials and more workers extend a study; everything else about it makes another study.
NOT_IN_FINGERPRINT = (
    "search__n_trials",
    "search__workers",
    "search__one_standard_error",
    "search__max_t",
    "record",
)


@dataclass(frozen=True)
class SearchInputs:
    """What the study's results depend on.

    Attributes:
        problems: The validation split.
        baseline: Unsteered answers to it.
        vectors: All vector files.
        others: Further files: the baseline's record of engine and machine, and what it is made of.
        layers: Layers to choose from.
        params: The rule's parameters, the fingerprint of its code among them.
        curves: kl_strengths.json, where strengths are in nats; or nothing.
    """

    problems: str
    baseline: str
    vectors: tuple[str, ...]
    others: tuple[str, ...]
    layers: tuple[int, ...]
    params: Mapping[str, Any]
    curves: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Parameters and hashes of files, by their names."""
        params = {k: v for k, v in self.params.items() if k not in NOT_IN_FINGERPRINT}
        paths = (self.problems, self.baseline, *self.vectors, *self.curves, *self.others)
        return {**params, "layers": [*self.layers], **{path: sha256_file(path) for path in paths}}

    def fingerprint(self) -> str:
        """A hash of parameters and file contents; a study goes on only where it is the same."""
        text = json.dumps(list(self.settings().values()))
        return hashlib.sha256(text.encode()).hexdigest()


def search(
    inputs: SearchInputs,
    prompter: Prompter,
    engine: Engine,
    rows: int,
    journal: str | Path,
    worker: int,
    output: str | Path,
    check: Callable[[], None],
    kl: Callable[[Steering], float] | None = None,
) -> None:
    """Run a worker's share of the study, until there are enough trials.

    Args:
        inputs: What the results depend on.
        prompter: Builds the prompts.
        engine: Answers them.
        rows: Requests that the engine decodes together.
        journal: Side file that keeps finished trials through a crash.
        worker: Number of this process.
        output: JSON file, written at the end.
        check: Raises where steered and unsteered answers do not compare, see `ProblemDesk`.
        kl: What a steering costs on neutral text, for the objective of that name.
    """
    settings = section(SearchConfig, "search", inputs.params)
    generation = section(GenerationConfig, "generation", inputs.params)
    vectors = read_vectors(inputs.vectors)
    problems, baseline = read_problems(inputs.problems), read_answers(inputs.baseline)
    first = searched(len(problems), settings.confirm)
    plan = Plan(
        search=settings,
        steering=section(SteeringConfig, "steering", inputs.params),
        layers=inputs.layers,
        vectors=vectors,
        baseline=baseline[:first],
        trials_in_flight=settings.trials_in_flight or fitting_trials(rows, first),
        rows=rows,
        worker=worker,
        curves=read_curves(inputs.curves),
        cost=_cost(kl, vectors) if settings.weighs_kl else None,
    )
    check()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fingerprint = inputs.fingerprint()
    pruner = make_pruner(settings, plan.num_chunks)
    prepare(engine, [make_request(prompter, one, None, generation) for one in problems[:first]])
    tokens, told = 0, 0

    def share() -> None:
        nonlocal tokens
        with engine.session() as session:
            queue = AnswerQueue(session, prompter, generation)
            desk = ProblemDesk(queue, problems[:first], plan, check)
            study = open_study(
                *(journal, fingerprint, pruner, settings.workers, inputs.settings()),
                directions(settings),
            )
            before, began = len(finished_trials(study)), time.monotonic()
            if more := surplus(finished_trials(study), settings.n_trials):
                logger.warning("%s For a smaller study set results to another folder.", more)

            def after_trial(study: optuna.Study) -> None:
                nonlocal told
                told += 1
                finished = finished_trials(study)
                values = [accuracy_of(t) or 0.0 for t in finished if t.state == TrialState.COMPLETE]
                seconds = time.monotonic() - began
                left = (settings.n_trials - len(finished)) * seconds
                left /= max(1, len(finished) - before)
                text = (
                    f"best {max(values, default=0.0):.1%}, pruned {len(finished) - len(values)}, "
                    f"{desk.tokens / seconds:.0f} tokens/s"
                )
                bar.n = len(finished)
                bar.set_postfix_str(text)
                logger.info(
                    "%d of %d trials, %s, %.0f s left", bar.n, settings.n_trials, text, max(0, left)
                )

            try:
                with tqdm(
                    total=settings.n_trials,
                    initial=before,
                    unit="trial",
                    desc="search",
                    disable=None,
                ) as bar:
                    run_study(study, plan, desk, after_trial, ask_lock(journal))
            finally:
                tokens += desk.tokens

    with one_process(journal, worker):
        started = time.monotonic()
        through_outages(share, lambda: told)
        seconds = time.monotonic() - started
    if (busy := busy_share(engine)) is not None:
        logger.info("%.0f%% of the slots were busy", 100 * busy)
    write_json(output, {"fingerprint": fingerprint, "new_tokens": tokens, "seconds": seconds})


def _cost(kl: Callable[[Steering], float] | None, vectors: Mapping[VectorKey, AnyVector]) -> KlOf:
    """What a configuration costs."""
    assert kl is not None  # the objective is measured

    def cost(candidate: Candidate) -> float:
        steering = steering_of(candidate, vectors)
        assert steering is not None  # no steering costs nothing
        return kl(steering)

    return cost
