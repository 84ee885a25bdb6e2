"""The graph that Snakemake plans, read from what a dry run prints."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.workflow.project import TARGETS, Project


@dataclass(frozen=True)
class Job:
    """A planned job."""

    rule: str
    inputs: frozenset[str]
    outputs: frozenset[str]


def graph(project: Project, *targets: str, overlay: Mapping[str, Any] | None = None) -> list[Job]:
    """All jobs behind some targets, done or not."""
    run = project.snakemake(*targets, "-n", "--forceall", overlay=overlay)
    assert run.code == 0, run.text
    jobs = []
    for block in re.finditer(
        r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?: {4}.*\n)+)", run.text, re.M
    ):
        files = dict(re.findall(r"^ {4}(input|output): (.*)$", block[2], re.M))
        split = {key: frozenset(value.split(", ")) for key, value in files.items()}
        none: frozenset[str] = frozenset()
        jobs.append(Job(block[1], split.get("input", none), split.get("output", none)))
    made = [job for job in jobs if job.rule not in TARGETS]
    assert len(made) == sum(run.jobs.values())

    return jobs


def ancestors(jobs: Iterable[Job], target: str, behind: frozenset[str] = frozenset()) -> set[str]:
    """All files that a file is made from, itself included.

    Args:
        jobs: Of the graph.
        target: The file.
        behind: Files that are not asked what they are made from.
    """
    made_by = {path: job for job in jobs for path in job.outputs}
    found: set[str] = set()
    waiting = [target]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            known = path in made_by and path not in behind
            waiting += made_by[path].inputs | made_by[path].outputs if known else ()
    return found


def readers(jobs: Iterable[Job], path: str) -> set[str]:
    """Rules that read a file."""
    return {job.rule for job in jobs if path in job.inputs}
