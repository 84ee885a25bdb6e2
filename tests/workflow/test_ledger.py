"""Every read of the test split is in the ledger, whatever becomes of the results folder."""

import json
from typing import Any

import pytest

from snakesteer.data.problem import read_problems
from snakesteer.records.ledger import Read, ledger_file, read_ledger
from tests.workflow.conftest import Finished
from tests.workflow.project import Project

pytestmark = pytest.mark.workflow


def entries(project: Project) -> list[Read]:
    """All reads in the project's one ledger."""
    [path] = (project.folder / "test_ledger").glob("*.jsonl")
    reads, unreadable = read_ledger(path)
    assert not unreadable
    return reads


def final(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.results / "test_final.json").read_text("utf-8"))
    return found


def test_a_run_is_one_read_and_one_for_each_control(finished: Finished):
    results = finished.project.results
    first, *others = entries(finished.project)
    problems = read_problems(results / "splits" / "test.jsonl")
    told = [(problem.id, problem.question, problem.gold) for problem in problems]
    path = ledger_file("test_ledger", told)
    assert (finished.project.folder / path).exists()
    assert (first.purpose, first.problems, first.samples, first.run) == ("final", 8, 1, "results")
    assert first.description.startswith("tiny model: ")
    assert {read.purpose for read in others} == {"controls"}
    assert len({read.configuration for read in others}) == len(others) == 12
    reads = {"ledger": str(path), "final": {"reads": 1, "configurations": 1}, "unreadable": 0}
    none = {"reads": 0, "configurations": 0}
    assert final(finished.project)["test_reads"] == {**reads, "controls": none}
    controls = json.loads((results / "controls.json").read_text("utf-8"))
    by_controls = {"reads": 12, "configurations": 12}
    assert controls["test_reads"] == {**reads, "controls": by_controls}
    page = (results / "report.html").read_text("utf-8")
    assert "has been read once, for one configuration, and 12 times by controls." in page


def evaluate(project: Project) -> None:
    run = project.snakemake("results/test_final.json", "--cores", "2", "--resources", "gpu=1")
    assert run.code == 0, run.text


def test_reads_go_up_and_configurations_only_with_another_one(finished_copy: Project):
    script = finished_copy.folder / "workflow" / "scripts" / "test_evaluation.py"
    text, once = script.read_text("utf-8"), "    results, generations = settled("
    assert once in text
    # A script that answers the test split twice, and says nothing of it.
    twice = text.replace(once, f"    for _ in range(2):\n    {once}")
    script.write_text(twice, encoding="utf-8")
    evaluate(finished_copy)
    assert final(finished_copy)["test_reads"]["final"] == {"reads": 3, "configurations": 1}

    script.write_text(text, encoding="utf-8")
    best = finished_copy.results / "best_config.json"
    record = json.loads(best.read_text("utf-8"))
    record["best_trial_params"]["steering_alpha"] *= 1.5
    best.write_text(json.dumps(record), encoding="utf-8")
    (finished_copy.results / "test_evaluation.json").unlink()  # the ledger does not go with it
    evaluate(finished_copy)
    counts = final(finished_copy)["test_reads"]
    assert counts["final"] == {"reads": 4, "configurations": 2}
    assert counts["controls"] == {"reads": 12, "configurations": 12}
    assert [read.purpose for read in entries(finished_copy)][-3:] == ["final"] * 3
