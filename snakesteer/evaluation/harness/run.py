"""From task names to a record of both sides."""

import math
import numbers
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import lm_eval.evaluator
from lm_eval.api.metrics import mean

from snakesteer.config import EvaluationConfig, PromptConfig
from snakesteer.engine.interface import Decoding, Engine
from snakesteer.evaluation.harness.model import HarnessModel
from snakesteer.evaluation.harness.record import compare_metric, pairs_of
from snakesteer.evaluation.harness.sides import SIDE_NAMES, Sides
from snakesteer.evaluation.harness.tasks import (
    check_apart,
    check_possible,
    seed_draws,
    told_groups,
)
from snakesteer.models.loading import LoadedModel
from snakesteer.steering.kinds import Steering

Logged = Mapping[str, list[dict[str, Any]]]


def run_tasks(
    tasks: dict[str, Any],
    loaded: LoadedModel,
    engine: Callable[[Decoding], Engine],
    steering: Steering,
    prompt: PromptConfig,
    evaluation: EvaluationConfig,
    test_questions: Iterable[str],
    limit: int | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do tasks of lm-evaluation-harness with and without a steering.

    Args:
        tasks: From `load_tasks`.
        loaded: The model.
        engine: Makes the engine for a way of decoding.
        steering: The tested one.
        prompt: The run's format: its chat settings are taken.
        evaluation: Of the statistics.
        test_questions: What no task may ask.
        limit: Documents of a task, the first ones; None for all.

    Returns:
        The record, and a row for each document and filter.

    Raises:
        UserError: A task asks the run's own test problems, generates in a way that the engines
            lack, runs code, shows pictures, or asks something else each time.
    """
    check_possible(tasks)
    check_apart(tasks, test_questions)
    sides = Sides(loaded, steering, engine)
    models = [HarnessModel(sides, side, prompt) for side in (0, 1)]
    for task in tasks["tasks"].values():
        if task.OUTPUT_TYPE == "generate_until":
            models[0].check(task.get_config("generation_kwargs") or {})
    found = [_evaluate(model, tasks, prompt, limit) for model in models]
    samples = {name: (found[0][name], found[1][name]) for name in tasks["tasks"]}
    pairs = {name: pairs_of(name, both) for name, both in samples.items()}
    groups = told_groups(tasks, lambda members: bool(_shared(members, pairs)))
    record = {
        "lm_eval": version("lm_eval"),
        "chat": prompt.chat,
        "limit": limit,
        "confidence": evaluation.confidence,
        "not_finite": sides.not_finite,
        "tasks": {
            name: _about(task, samples[name][0])
            | {"metrics": _metrics(pairs[name], task, evaluation)}
            for name, task in tasks["tasks"].items()
        },
        "groups": {
            name: {"tasks": members, "metrics": _pooled(members, pairs, tasks["tasks"], evaluation)}
            for name, members in groups.items()
        },
    }
    rows = [row for name, both in samples.items() for row in _rows(name, *both)]
    return record, rows


def _evaluate(
    model: HarnessModel, tasks: dict[str, Any], prompt: PromptConfig, limit: int | None
) -> Logged:
    """Logged samples of each task."""
    seed_draws(tasks)
    with ExitStack() as stack:
        # Aggregated here, from the samples, where a perplexity that no float holds is no crash.
        for task in tasks["tasks"].values():
            task.aggregation = lambda: defaultdict(lambda: _nothing)
            stack.callback(delattr, task, "aggregation")
        found = lm_eval.evaluator.evaluate(
            lm=model,
            task_dict=tasks,
            limit=limit,
            bootstrap_iters=0,
            system_instruction=prompt.system if prompt.chat else None,
            apply_chat_template=prompt.chat,
            fewshot_as_multiturn=prompt.chat,
        )
    samples: Logged = found["samples"]
    return samples


def _nothing(_: Any) -> float:
    return math.nan


def _about(task: Any, samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": task.VERSION,
        "shots": task.get_config("num_fewshot"),
        "documents": len({row["doc_id"] for row in samples}),
    }


def _metrics(
    pairs: Mapping[tuple[str, str], tuple[list[Any], list[Any]]],
    task: Any,
    evaluation: EvaluationConfig,
) -> list[dict[str, Any]]:
    """Of one task, or of several whose values are put together."""
    aggregates, better = task.aggregation(), task.higher_is_better()
    return [
        {
            "metric": metric,
            "filter": kind,
            "higher_is_better": better.get(metric),
            # As in the harness: the mean of what names no aggregation.
            **compare_metric(
                *(metric, values, aggregates.get(metric, mean), evaluation),
                less_is_better=better.get(metric) is False,
            ),
        }
        for (metric, kind), values in pairs.items()
    ]


def _pooled(
    members: list[str],
    pairs: Mapping[str, Mapping[tuple[str, str], tuple[list[Any], list[Any]]]],
    tasks: Mapping[str, Any],
    evaluation: EvaluationConfig,
) -> list[dict[str, Any]]:
    """Of a group: documents of all its tasks together, for metrics that all of them have."""
    together = {
        key: tuple(
            [value for name in members for value in pairs[name][key][side]]
            for side in range(len(SIDE_NAMES))
        )
        for key in _shared(members, pairs)
    }
    return _metrics(together, tasks[members[0]], evaluation)  # type: ignore[arg-type]


def _shared(
    members: list[str], pairs: Mapping[str, Mapping[tuple[str, str], Any]]
) -> list[tuple[str, str]]:
    """Metrics with their filters that all of some tasks have."""
    first, *others = (pairs[name] for name in members)
    return [key for key in first if all(key in other for other in others)]


def _rows(task: str, before: Any, after: Any) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "doc_id": one["doc_id"],
            "doc_hash": one["doc_hash"],
            "filter": one["filter"],
            **{
                f"{side}_{metric}": _plain(row[metric])
                for side, row in zip(SIDE_NAMES, (one, other), strict=True)
                for metric in row["metrics"]
            },
        }
        for one, other in zip(before, after, strict=True)
    ]


def _plain(value: Any) -> Any:
    """A value of a metric as JSON, whatever its task keeps; None where a number is not finite."""
    if hasattr(value, "tolist"):  # of numpy or torch
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | str):
        return value
    if not isinstance(value, numbers.Real):
        return str(value)
    number = float(value)
    return number if math.isfinite(number) else None
