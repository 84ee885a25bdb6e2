"""Tasks of lm-evaluation-harness in the study's table and on its page."""

import pandas as pd

from snakesteer.records.files import read_json, write_json
from snakesteer.study.harness_tasks import read_task_changes, tasks_table
from snakesteer.study.summary import write_summary
from tests.unit.report.test_harness_text import RECORD, measured
from tests.unit.study.studies import replicates


def write_record(folder, change):
    """harness.json of a run: one group of tasks, and one with a change of its own."""
    tested = read_json(folder / "test_final.json")["best_trial_params"]
    task = {
        "documents": 9,
        "metrics": [
            measured("em", 0.5, 0.5 + change, [change - 0.1, change + 0.1]),
            {**measured("f1", 0.0, 0.0, None), "difference": None},
        ],
    }
    tasks = {**RECORD["tasks"], "squad": task}
    write_json(folder / "harness.json", {**RECORD, "tasks": tasks, "best_trial_params": tested})
    return tested


def test_runs_and_groups_tell_what_tasks_say(tmp_path):
    runs = replicates(tmp_path / "a", "a", [{}, {}]) + replicates(tmp_path / "b", "b", [{}])
    for run, change in zip(runs[:2], (0.1, -0.3), strict=True):
        write_record(run.results, change)
    write_summary(runs, tmp_path / "runs.csv", tmp_path / "report.html", tmp_path / "figures")
    table = pd.read_csv(tmp_path / "runs.csv").set_index("name")
    assert [*table["squad: em"][:2].round(6)] == [0.1, -0.3]
    assert table["squad: em_low"].iloc[1] == -0.4
    assert table["mmlu: acc, first"].notna().sum() == 2
    assert not {"squad: f1", "astronomy: acc"} & set(table.columns)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Tasks of lm-evaluation-harness" in page
    assert "−0.100 (−0.400 to +0.200)" in page


def test_a_table_has_means_and_the_widest_ends(tmp_path):
    made = replicates(tmp_path, "a", [{}, {}])
    found = []
    for run, change in zip(made, (0.1, -0.3), strict=True):
        tested = write_record(run.results, change)
        found.append(read_task_changes(run.results, tested))
        assert read_task_changes(run.results, {**tested, "layer_id": 99}) == {}
    rows = tasks_table({"a": found, "b": [{}]}).rows
    assert rows[-1] == ("a", "squad", "em", "2", "0.5", "0.4", "−0.100 (−0.400 to +0.200)")
    assert [row[1] for row in rows] == ["mmlu", "wikitext", "squad"]
    (made[0].results / "harness.json").unlink()
    assert read_task_changes(made[0].results, tested) == {}
