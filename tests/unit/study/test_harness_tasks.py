"""Tasks of lm-evaluation-harness in the study's table and on its page."""

import pandas as pd

from snakesteer.records.files import read_json, write_json
from snakesteer.study.harness_tasks import task_changes_of, tasks_table
from snakesteer.study.summary import write_summary
from tests.unit.report.test_harness_text import RECORD, measured
from tests.unit.study.studies import replicates


def write_record(folder, change):
    """What test_final.json says: one group of tasks, and one with a change of its own."""
    task = {
        "documents": 9,
        "metrics": [
            measured("em", 0.5, 0.5 + change, [change - 0.1, change + 0.1]),
            {**measured("f1", 0.0, 0.0, None), "difference": None},
        ],
    }
    tasks = {**RECORD["tasks"], "squad": task}
    final = {**read_json(folder / "test_final.json"), "harness": {**RECORD, "tasks": tasks}}
    write_json(folder / "test_final.json", final)
    return final


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
        final = write_record(run.results, change)
        found.append(task_changes_of(final))
    assert task_changes_of({**final, "harness": None}) == {}
    rows = tasks_table({"a": found, "b": [{}]}).rows
    assert rows[-1] == ("a", "squad", "em", "2", "0.5", "0.4", "−0.100 (−0.400 to +0.200)")
    assert [row[1] for row in rows] == ["mmlu", "wikitext", "squad"]
