"""The end of a study, as Snakemake reaches it: all runs finished, or some of them failed."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakesteer.study.links import link_shared

if TYPE_CHECKING:  # the Snakefile imports this module, and pandas takes a second
    from snakesteer.study.runs import StudyRun


def study_runs(told: Iterable[Mapping[str, Any]]) -> "list[StudyRun]":
    """The runs that a summary is of; what they share is linked into the folder of each.

    Args:
        told: By run its ``name``, ``group``, ``results``, ``table`` and ``shared`` folders.
    """
    from snakesteer.study.runs import StudyRun

    runs = []
    for run in told:
        link_shared(run["results"], run["shared"])
        runs.append(StudyRun(run["name"], run["group"], Path(run["results"]), run["table"]))
    return runs


def final_words(told: Iterable[Mapping[str, Any]], results: str, rewrite: bool = False) -> str:
    """What a study found, for the terminal.

    Args:
        told: See `study_runs`.
        results: Its folder.
        rewrite: Write the summary first, as the rule that does it could not run.
    """
    from snakesteer.study.summary import summarise, verdict_of, write_summary

    runs = study_runs(told)
    report = Path(results, "report.html")
    if rewrite:
        table, figures = Path(results, "runs.csv"), Path(results, "figures")
        write_summary(runs, table, report, figures)
        # As the rule did not write it, it must look out of date to the next run.
        for path in (table, report, *figures.glob("effects.*")):
            os.utime(path, (0, 0))
    verdict = verdict_of(summarise(runs))
    lines = ["", verdict.headline, *([verdict.text] if verdict.text else [])]
    lines += [f"Note: {caution}" for caution in verdict.cautions]
    return "\n".join([*lines, f"Report: {report}"])
