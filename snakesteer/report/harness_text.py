"""Tasks of lm-evaluation-harness with and without the tested steering, in words and as a table."""

from collections.abc import Iterator

from snakesteer.report.evidence import Record
from snakesteer.report.figures.figure import Table
from snakesteer.report.off_target_text import BROKEN
from snakesteer.report.wording import count, percent, points, points_interval, signed


def harness_text(record: Record) -> str:
    """A paragraph for the report.

    Args:
        record: harness.json.
    """
    documents = sum(task["documents"] for task in record["tasks"].values())
    text = (
        f"{_tasks(record)} of lm-evaluation-harness {record['lm_eval']} "
        f"({count(documents, 'document')}{_limited(record)}) with and without the tested "
        "steering: prompts, examples and metrics are the harness', likelihoods and answers are "
        "from the engine of this run. Continuations are steered as generated text is. Intervals "
        "are bootstraps over documents that both sides have seen; they are not corrected for the "
        "number of tasks."
    )
    if record["not_finite"]:
        text += (
            f" On {count(record['not_finite'], 'text')} steering made numbers that are not finite; "
            "these texts count as impossible."
        )
    return text


def harness_sentences(record: Record) -> list[str]:
    """What the methods paragraph says of it.

    Args:
        record: harness.json.
    """
    told = "; ".join(
        f"{name} ({metric}): {before} unsteered, {after} steered, {change} ({interval})"
        for name, metric, before, after, change, interval in _rows(record)
    )
    return [
        f"{_tasks(record)} of lm-evaluation-harness {record['lm_eval']} "
        f"[@gao2024harness]{_limited(record)}, with "
        f"{record['confidence']:.0%} CIs of the difference (bootstrap over documents): {told}."
    ]


def harness_table(record: Record) -> Table:
    """Groups and tasks, a row a metric; tasks of a group are in it and have no row of their own.

    Args:
        record: harness.json.
    """
    return Table(
        "Tasks of lm-evaluation-harness",
        (
            *("Task", "Metric", "Unsteered", "Steered", "Change"),
            f"{record['confidence']:.0%} interval",
        ),
        tuple(_rows(record)),
    )


def shown_tasks(record: Record) -> dict[str, Record]:
    """Groups, and tasks of no group, by name.

    Args:
        record: harness.json.
    """
    grouped = {name for group in record["groups"].values() for name in group["tasks"]}
    alone = {name: task for name, task in record["tasks"].items() if name not in grouped}
    return {**record["groups"], **alone}


def metric_name(one: Record) -> str:
    """A metric, with the filter that answers went through if there was one."""
    return one["metric"] if one["filter"] == "none" else f"{one['metric']}, {one['filter']}"


def _rows(record: Record) -> Iterator[tuple[str, ...]]:
    for name, found in shown_tasks(record).items():
        for one in found["metrics"]:
            metric = metric_name(one)
            # Larger is better where the harness does not say.
            better = (
                metric if one["higher_is_better"] is not False else f"{metric} (less is better)"
            )
            yield name, better, *_cells(one)


def _cells(one: Record) -> tuple[str, str, str, str]:
    share = "mcnemar" in one
    sides = [
        BROKEN if value is None else percent(value) if share else f"{value:.4g}"
        for value in (one["baseline"], one["steered"])
    ]
    if one["difference"] is None:
        return sides[0], sides[1], BROKEN, BROKEN
    if share:
        change, interval = points(one["difference"]), points_interval(one["difference_ci"])
    else:
        change, ends = signed(one["difference"], 3), one["difference_ci"]
        interval = BROKEN if ends is None else " to ".join(signed(end, 3) for end in ends)
    return sides[0], sides[1], change, interval


def _tasks(record: Record) -> str:
    number = len(record["tasks"])
    return "One task" if number == 1 else f"{number} tasks"


def _limited(record: Record) -> str:
    limit = record["limit"]
    return "" if limit is None else f", at most {limit} of a task"
