"""The tasks of a run: found by name, and kept off the run's own test problems."""

import difflib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.tasks import TaskManager

from snakesteer.data.problem import one_line
from snakesteer.errors import UserError

# Of lm-evaluation-harness' own command line: examples of a prompt are drawn with the first; what
# tasks draw themselves (the order of choices, say), with the others.
_SHOTS_SEED, _PYTHON_SEED, _NUMPY_SEED = 1234, 0, 1234


@cache
def _index(folder: str | None) -> TaskManager:
    """All tasks; to read their names takes seconds."""
    return TaskManager(include_path=folder)


def find_tasks(names: Sequence[str], folder: str | Path | None) -> TaskManager:
    """The index of all tasks, which holds those that are named. No data are read.

    Args:
        names: Of tasks, groups or tags.
        folder: Of the user's own tasks.

    Raises:
        UserError: There is no such task.
    """
    manager = _index(None if folder is None else str(folder))
    missing = [name for name in names if name not in manager.all_tasks]
    if missing:
        close = difflib.get_close_matches(missing[0], manager.all_tasks, 3)
        remedy = "Correct the name (`lm_eval ls tasks` lists all), or give the folder of your own "
        remedy += "tasks with off_target.harness_folder."
        if close:
            remedy += f" Close to {missing[0]}: {', '.join(close)}."
        raise UserError(
            f"off_target.harness_tasks names {', '.join(missing)}, which lm-evaluation-harness "
            "does not have",
            remedy,
        )
    return manager


def load_tasks(manager: TaskManager, names: Sequence[str]) -> dict[str, Any]:
    """The tasks with their data, as `lm_eval.evaluator.evaluate` takes them.

    Raises:
        UserError: A task is asked for twice.
    """
    _seed_libraries()
    try:
        loaded: dict[str, Any] = dict(manager.load([*names]))
    except ValueError as error:
        if not str(error).startswith("Duplicate task"):
            raise
        raise UserError(
            f"off_target.harness_tasks asks for a task in two ways ({error})",
            "Leave out the task or the group that another name holds already.",
        ) from error
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    return loaded


def seed_draws(loaded: dict[str, Any]) -> None:
    """Let all that tasks draw be drawn from the start again, so that both sides get the same."""
    _seed_libraries()
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=_SHOTS_SEED)


def _seed_libraries() -> None:
    random.seed(_PYTHON_SEED)
    np.random.seed(_NUMPY_SEED)


def check_possible(loaded: dict[str, Any]) -> None:
    """Refuse tasks that run code, and those of models that see or hear.

    Raises:
        UserError: Names the task.
    """
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise UserError(
                f"The task {name} runs code that the model writes", "Run it with lm_eval itself."
            )
        if getattr(task, "MULTIMODAL", False):
            raise UserError(
                f"The task {name} shows pictures or plays sounds; models read text here",
                f"Take {name} out of off_target.harness_tasks.",
            )


def check_apart(loaded: dict[str, Any], questions: Iterable[str]) -> None:
    """Refuse tasks that ask what the run's own test split asks.

    That would be a second read of it, on other terms, that no ledger sees.

    Args:
        loaded: From `load_tasks`.
        questions: Of the test split.

    Raises:
        UserError: Names the task.
    """
    own = {one_line(question) for question in questions}
    for name, task in loaded["tasks"].items():
        for doc in task.eval_docs:
            if any(one_line(text) in own for text in _texts(doc)):
                raise UserError(
                    f"The task {name} of lm-evaluation-harness asks a problem of the run's own "
                    "test split, which is for the one evaluation of test_final.json",
                    f"Take {name} out of off_target.harness_tasks.",
                )


def _texts(value: Any) -> Iterator[str]:
    """All texts in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def told_groups(loaded: dict[str, Any], alike: Callable[[list[str]], bool]) -> dict[str, list[str]]:
    """Groups with all of their tasks, without those that are in another one.

    Args:
        loaded: From `load_tasks`.
        alike: Whether tasks have something in common that may be told of all of them; a group of
            others is left out, and the groups in it stand for themselves.
    """
    groups = {
        name: (group, sorted(task.task_name for task in group.get_all_tasks()))
        for name, group in loaded["groups"].items()
    }
    found = {name: both for name, both in groups.items() if alike(both[1])}
    inner = {one.name for group, _ in found.values() for one in group.get_all_groups()}
    return {name: members for name, (_, members) in found.items() if name not in inner}
