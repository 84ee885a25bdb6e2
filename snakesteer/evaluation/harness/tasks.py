"""The tasks of a run: found by name, and kept off the run's own test problems."""

import difflib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager

from snakesteer.errors import UserError

# Of lm-evaluation-harness' own command line: examples of a prompt are drawn with it.
_SHOTS_SEED = 1234


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
    """The tasks with their data, as `lm_eval.evaluator.evaluate` takes them."""
    loaded: dict[str, Any] = dict(manager.load([*names]))
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    return loaded


def seed_shots(loaded: dict[str, Any]) -> None:
    """Let examples of prompts be drawn from the start again, so that both sides get the same."""
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=_SHOTS_SEED)


def check_apart(loaded: dict[str, Any], questions: Iterable[str]) -> None:
    """Refuse tasks that ask what the run's own test split asks.

    That would be a second read of it, on other terms, that no ledger sees.

    Args:
        loaded: From `load_tasks`.
        questions: Of the test split.

    Raises:
        UserError: Names the task.
    """
    own = {" ".join(question.split()) for question in questions}
    for name, task in loaded["tasks"].items():
        for doc in task.eval_docs:
            texts = (value for value in doc.values() if isinstance(value, str))
            if any(" ".join(text.split()) in own for text in texts):
                raise UserError(
                    f"The task {name} of lm-evaluation-harness asks a problem of the run's own "
                    "test split, which is for the one evaluation of test_final.json",
                    f"Take {name} out of off_target.harness_tasks.",
                )


def requested(loaded: dict[str, Any]) -> dict[str, list[str]]:
    """Groups that are in no other group, with all of their tasks, and tasks of no group alone."""
    members = {
        name: sorted(task.task_name for task in group.get_all_tasks())
        for name, group in loaded["groups"].items()
    }
    inner = {
        subgroup.name for group in loaded["groups"].values() for subgroup in group.get_all_groups()
    }
    found = {name: tasks for name, tasks in members.items() if name not in inner}
    inside = {task for tasks in members.values() for task in tasks}
    return found | {name: [name] for name in loaded["tasks"] if name not in inside}
