"""Tasks of lm-evaluation-harness in a run, and what stops it before the first job."""

import importlib.util
import json
from collections import Counter

import pytest

from tests.harness_tasks import write_tasks
from tests.workflow.project import Project
from tests.workflow.test_bad_inputs import check_nothing_half_made, check_refusal

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm_eval is missing"),
]


def test_tasks_are_part_of_the_run_and_of_its_report(finished_copy: Project):
    write_tasks(finished_copy.folder / "tasks")
    wanted = {"harness_tasks": ["snake_both", "snake_sums"], "harness_folder": "tasks"}
    overlay = {"off_target": wanted}
    run = finished_copy.snakemake(overlay=overlay)
    assert run.code == 0, run.text
    assert run.jobs == Counter(harness=1, test_final=1, provenance=1, report=1)
    results = finished_copy.results
    record = json.loads((results / "harness.json").read_text(encoding="utf-8"))
    final = json.loads((results / "test_final.json").read_text(encoding="utf-8"))
    assert record.pop("best_trial_params") == final["best_trial_params"]
    assert final["harness"] == record
    assert [task["documents"] for task in record["tasks"].values()] == [4, 4, 5]
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Tasks of lm-evaluation-harness" in page
    assert "lm-evaluation-harness" in (results / "methods.md").read_text(encoding="utf-8")
    named = json.loads((results / "provenance.json").read_text(encoding="utf-8"))["sha256"]
    assert {"results/harness.json", "results/harness.jsonl"} <= set(named)
    (finished_copy.folder / "tasks" / ".git").mkdir()
    (finished_copy.folder / "tasks" / ".git" / "index").write_text("by git", encoding="utf-8")
    assert finished_copy.snakemake(overlay=overlay).idle

    # A task that changed is done again.
    path = finished_copy.folder / "tasks" / "snake_sums.yaml"
    path.write_text(path.read_text().replace("version: 1.0", "version: 1.1"), encoding="utf-8")
    again = finished_copy.snakemake("-n", overlay=overlay)
    assert again.jobs == Counter(harness=1, test_final=1, provenance=1, report=1)


def test_a_task_that_is_not_there_stops_before_anything_is_done(fresh_copy: Project):
    wanted = {"harness_tasks": ["arc_easey"]}
    run = fresh_copy.snakemake(overlay={"off_target": wanted})
    check_refusal(run, "off_target.harness_tasks names arc_easey", "arc_easy")
    run = fresh_copy.snakemake(overlay={"off_target": {**wanted, "harness_folder": "tasks"}})
    check_refusal(run, "off_target.harness_folder is 'tasks', which is not a folder")
    check_nothing_half_made(fresh_copy, ".")
