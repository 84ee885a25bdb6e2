"""Tasks of lm-evaluation-harness in all runs, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from snakesteer.report.figures.figure import Table
from snakesteer.report.harness_text import metric_name, shown_tasks
from snakesteer.report.wording import signed


@dataclass(frozen=True)
class TaskChange:
    """A metric of a task in one run.

    Attributes:
        baseline: Without steering.
        steered: With it.
        difference: Steered − baseline.
        low: Of its interval.
        high: Of its interval.
    """

    baseline: float
    steered: float
    difference: float
    low: float
    high: float


# Task (or group of tasks) and metric → what steering changes; without metrics that are not finite.
TaskChanges = Mapping[tuple[str, str], TaskChange]


def task_changes_of(final: Mapping[str, Any]) -> TaskChanges:
    """What a run's test_final.json says of tasks; nothing where the run did without.

    Args:
        final: Its content.
    """
    record = final.get("harness")
    if record is None:
        return {}
    return {
        (name, metric_name(one)): TaskChange(
            one["baseline"], one["steered"], one["difference"], *one["difference_ci"]
        )
        for name, found in shown_tasks(record).items()
        for one in found["metrics"]
        if one["difference_ci"] is not None
    }


def task_columns(changes: TaskChanges) -> dict[str, float]:
    """Columns of runs.csv: the change in each metric, with the ends of its interval."""
    return {
        f"{task}: {metric}{end}": value
        for (task, metric), change in changes.items()
        for end, value in (("", change.difference), ("_low", change.low), ("_high", change.high))
    }


def tasks_table(groups: Mapping[str, Sequence[TaskChanges]]) -> Table:
    """What steering does to tasks, a row a group of runs, task and metric.

    Of several runs, means, and from the lowest to the highest end of their intervals.

    Args:
        groups: Of each group's finished runs; runs without such tasks hold nothing.
    """
    rows = []
    for group, runs in groups.items():
        for task, metric in dict.fromkeys(key for run in runs for key in run):
            found = [run[task, metric] for run in runs if (task, metric) in run]
            means = (fmean(getattr(one, name) for one in found) for name in ("baseline", "steered"))
            change = fmean(one.difference for one in found)
            ends = min(one.low for one in found), max(one.high for one in found)
            rows.append(
                (
                    *(group, task, metric, str(len(found))),
                    *(f"{mean:.4g}" for mean in means),
                    f"{signed(change, 3)} ({signed(ends[0], 3)} to {signed(ends[1], 3)})",
                )
            )
    columns = ("Group", "Task", "Metric", "Runs", "Unsteered", "Steered", "Change")
    return Table("Tasks of lm-evaluation-harness", columns, tuple(rows))
