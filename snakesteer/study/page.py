"""The page of a study: one file like the report of a run, with links to those reports."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from snakesteer.report.figures.figure import Figure
from snakesteer.report.page import fill_page
from snakesteer.report.wording import count, p_number, percent, signed
from snakesteer.study.effects import choice_words, interval_words
from snakesteer.study.elsewhere import elsewhere_table
from snakesteer.study.groups import Group
from snakesteer.study.harness_tasks import tasks_table
from snakesteer.study.runs import AnyRun, FinishedRun, seeds_words
from snakesteer.study.tables import (
    choices_table,
    costs_table,
    failures_table,
    groups_table,
    spread_table,
)
from snakesteer.study.words import StudyVerdict, confidences, duration

STUDY_ASSETS = Path(__file__).parent / "assets"

# Those that fit on paper; runs.csv has all.
RUN_COLUMNS = (
    *("Run", "Verdict", "Difference in points", "Interval", "p (Holm)", "Group", "Tested"),
    *("Seeds", "Unsteered", "Steered", "Gained, lost", "Time"),
)


@dataclass(frozen=True)
class RunLine:
    """A line of the table of runs.

    Attributes:
        name: Of the run.
        link: Its report, seen from the page; empty where there is none.
        cells: The other cells.
    """

    name: str
    link: str
    cells: tuple[str, ...]


def render_study(
    groups: Sequence[Group],
    verdict: StudyVerdict,
    figures: Mapping[str, Figure],
    adjusted: int,
    folder: str | Path,
) -> str:
    """The page of a study as HTML.

    Args:
        groups: All of them, with their runs.
        verdict: What comes first.
        figures: By name.
        adjusted: How many p-values those of runs are adjusted for.
        folder: Where the page is going to lie.
    """
    finished = [run for group in groups for run in group.finished]
    failed = [run for group in groups for run in group.failed]
    return fill_page(
        "study.html.jinja",
        figures,
        STUDY_ASSETS,
        verdict=verdict,
        tables={
            "groups": groups_table(groups),
            "spread": spread_table(groups),
            "choices": choices_table(groups),
            "elsewhere": elsewhere_table(
                {group.name: [run.elsewhere for run in group.finished] for group in groups}
            ),
            "tasks": tasks_table(
                {group.name: [run.tasks for run in group.finished] for group in groups}
            ),
            "costs": costs_table(groups),
            "failures": failures_table(failed),
        },
        columns=RUN_COLUMNS,
        lines=[
            run_line(run, group.result.seeds, folder)
            for group in groups
            if group.result is not None
            for run in group.finished
        ],
        runs=count(len(finished) + len(failed), "run"),
        confidence=confidences(groups),
        adjusted=adjusted,
    )


def run_line(run: FinishedRun, seeds: Sequence[str], folder: str | Path) -> RunLine:
    """A finished run for the table.

    Args:
        run: The run.
        seeds: Which are told.
        folder: Where the page lies.
    """
    row = run.row
    return RunLine(
        run.run.name,
        link_of(run, folder),
        (
            *(row.verdict, signed(100.0 * row.difference), interval_words(row.low, row.high)),
            *(p_number(row.p_holm), run.run.group, choice_words(row)),
            seeds_words({name: run.seeds[name] for name in seeds if name in run.seeds}),
            *(percent(row.baseline), percent(row.steered), f"{row.gained}, {row.lost}"),
            duration(run.cost.seconds),
        ),
    )


def link_of(run: AnyRun, folder: str | Path) -> str:
    """A run's report as seen from a folder; empty where there is none."""
    report = Path(run.run.results) / "report.html"
    if not report.exists():
        return ""
    return quote(Path(os.path.relpath(report, folder)).as_posix(), safe="/")
