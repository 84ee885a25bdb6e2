"""The summary of a study: one table, one page, one figure of all its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from snakesteer.errors import UserError
from snakesteer.records.files import atomic_path, write_text
from snakesteer.report.figures.figure import write_figure
from snakesteer.study.effects import effects_figure
from snakesteer.study.frames import frame_of_groups, frame_of_runs
from snakesteer.study.groups import Group, make_groups
from snakesteer.study.page import render_study
from snakesteer.study.rows import comparisons_of, judged
from snakesteer.study.runs import AnyRun, FailedRun, FinishedRun, StudyRun, read_run
from snakesteer.study.words import StudyVerdict, study_verdict


@dataclass(frozen=True, eq=False)
class Summary:
    """A study, read and judged.

    Attributes:
        runs: All of them, in the order of the table of runs.
        groups: In the order in which they are first named there.
        comparisons: How many configurations the runs' p-values are adjusted for.
    """

    runs: list[AnyRun]
    groups: list[Group]
    comparisons: int


def write_summary(
    runs: Sequence[StudyRun], out_csv: str | Path, out_html: str | Path, figures_folder: str | Path
) -> Summary:
    """Write the table, the page and the figures of a study.

    Args:
        runs: All of them, those that failed as well.
        out_csv: One row a run.
        out_html: The page.
        figures_folder: For effects.svg and effects.png.

    Returns:
        What they show.

    Raises:
        UserError: See `summarise`.
    """
    found = summarise(runs)
    figure = effects_figure(found.groups)
    write_figure(figure, figures_folder)
    with atomic_path(out_csv) as temporary:
        frame_of_runs(found.runs).to_csv(temporary, index=False)
    folder = Path(out_html).parent
    page = render_study(
        found.groups, verdict_of(found), {figure.name: figure}, found.comparisons, folder
    )
    write_text(out_html, page)
    return found


def verdict_of(found: Summary) -> StudyVerdict:
    """The verdict of a study that was read and judged."""
    finished = sum(isinstance(each, FinishedRun) for each in found.runs)
    return study_verdict(found.groups, found.comparisons - finished)


def study_frame(runs: Sequence[StudyRun]) -> pd.DataFrame:
    """The table of a study, one row a run; what a run without a result cannot say is missing.

    Args:
        runs: All of them.

    Raises:
        UserError: See `summarise`.
    """
    return frame_of_runs(summarise(runs).runs)


def group_frame(runs: Sequence[StudyRun]) -> pd.DataFrame:
    """What the groups of a study found, one row a group.

    Args:
        runs: All of them.

    Raises:
        UserError: See `summarise`.
    """
    return frame_of_groups(summarise(runs).groups)


def summarise(runs: Sequence[StudyRun]) -> Summary:
    """Read all runs of a study, and judge them together.

    Raises:
        UserError: There are none, two have the same name, or two runs of a group are no replicates.
    """
    names = [run.name for run in runs]
    if not names:
        raise UserError("The study has no runs", "Write one line a run into its table.")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"{twice[0]} is the name of two runs", "Give every run its own name.")
    read = [read_run(run) for run in runs]
    finished = [each for each in read if isinstance(each, FinishedRun)]
    failed = [each for each in read if isinstance(each, FailedRun)]
    comparisons = comparisons_of(
        [each.final for each in finished], [frozenset(each.differences) for each in finished]
    )
    rows = judged([each.row for each in finished], comparisons)
    finished = [replace(each, row=row) for each, row in zip(finished, rows, strict=True)]
    by_name: dict[str, AnyRun] = {each.run.name: each for each in finished}
    by_name |= {each.run.name: each for each in failed}
    groups = make_groups(finished, failed, list(dict.fromkeys(run.group for run in runs)))
    return Summary([by_name[name] for name in names], groups, comparisons)
