"""The runs and groups of a study as tables for programs: all columns, all digits."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from snakesteer.study.elsewhere import NOTHING
from snakesteer.study.groups import Group
from snakesteer.study.harness_tasks import task_columns
from snakesteer.study.rows import RunRow
from snakesteer.study.runs import AnyRun, FinishedRun, planned_model, seeds_words

_NUMBERS = (
    *("baseline", "steered", "difference", "low", "high", "confidence", "p_value", "p_holm"),
    *("margin", "equivalence_p", "verdict", "problems"),
)
_NOT_RUN: dict[str, Any] = {field.name: None for field in fields(RunRow)}


def frame_of_runs(runs: Sequence[AnyRun]) -> pd.DataFrame:
    """One row a run; what a run without a result cannot say is missing.

    Our own columns come first, then the cells of the table of runs that are not among them.
    """
    return pd.DataFrame([_of_run(each) for each in runs])


def frame_of_groups(groups: Sequence[Group]) -> pd.DataFrame:
    """One row a group; variances are of fractions."""
    return pd.DataFrame([_of_group(group) for group in groups])


def _of_run(each: AnyRun) -> dict[str, Any]:
    if isinstance(each, FinishedRun):
        found, status, last = asdict(each.row), "finished", {}
        elsewhere = asdict(each.elsewhere) | task_columns(each.tasks)
        seeds = seeds_words(each.seeds)
    else:
        found = {**_NOT_RUN, "model": planned_model(each) or None}
        status, last, seeds = each.status, asdict(each.words), None
        elsewhere = asdict(NOTHING)
    record = {
        "name": each.run.name,
        "group": each.run.group,
        "status": status,
        **found,
        **elsewhere,
        "results": Path(each.run.results).as_posix(),
        "seeds": seeds,
        "device": each.cost.device or None,
        "device_seconds": each.cost.seconds,
        "new_tokens": each.cost.new_tokens,
        "stage": last.get("stage"),
        "log": last.get("log"),
        "last_words": last.get("words"),
    }
    return record | {key: value for key, value in each.run.table.items() if key not in record}


def _of_group(group: Group) -> dict[str, Any]:
    record: dict[str, Any] = {
        "group": group.name,
        "model": group.model,
        "runs": len(group.finished),
        "failed": len(group.failed),
        "predicts": group.predicts or None,
        "agreement": group.agreement,
    }
    if (result := group.result) is None:
        return record
    record |= {name: getattr(result, name) for name in _NUMBERS}
    if (spread := result.heterogeneity) is not None:
        record |= {
            "prediction_low": spread.low,
            "prediction_high": spread.high,
            "between_variance": spread.between,
            "own_variance": spread.own,
            "shared_variance": spread.shared,
            "q": spread.q,
            "q_p": spread.q_p,
            "i_squared": spread.i_squared,
        }
    return record
