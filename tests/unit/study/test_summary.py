"""The files of a study, and its tables for programs."""

import json
from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest

from snakesteer.study.summary import group_frame, study_frame, summarise, write_summary

OURS = (
    *("name", "group", "status", "model", "results", "choice", "method", "direction", "layer"),
    *("steering_alpha", "steering_dose", "n", "baseline", "steered", "difference", "low", "high"),
    *("gained", "lost", "p_value", "p_holm", "verdict", "recommendation", "seeds", "device"),
    *("device_seconds", "new_tokens", "stage", "log", "last_words"),
)


def test_files(study):
    made = study("claims")
    files = {path.name for path in made.folder.rglob("*") if "results" not in path.parts}
    assert files == {"runs.csv", "report.html", "figures", "effects.svg", "effects.png"}
    assert (made.folder / "figures" / "effects.png").read_bytes().startswith(b"\x89PNG")
    svg = (made.folder / "figures" / "effects.svg").read_text(encoding="utf-8")
    assert "3 runs pooled" in svg


def test_the_table_has_a_row_for_every_run(study):
    made = study("claims")
    table = pd.read_csv(made.folder / "runs.csv")
    assert set(OURS) <= set(table.columns)
    assert list(table["name"]) == [run.name for run in made.runs]
    assert list(table["status"]) == ["finished"] * 10 + ["failed"]
    first, last = table.iloc[0], table.iloc[-1]
    assert (first["difference"], first["gained"], first["lost"]) == (pytest.approx(0.18), 22, 4)
    assert (first["predicts"], first["search.seed"]) == ("helps", 0)
    assert first["device_seconds"] == 90.5
    assert pd.isna(last["difference"])
    assert (last["log"], last["last_words"]) == ("logs/search_0.log", "ValueError: lost")
    assert pd.isna(first["stage"])
    assert last["stage"].startswith("answered the validation split")
    written = StringIO(study_frame(made.runs).to_csv(index=False))
    pd.testing.assert_frame_equal(table, pd.read_csv(written))


def test_the_table_of_groups(study):
    made = study("claims")
    table = group_frame(made.runs).set_index("group")
    assert list(table.index) == ["base, caa", "base, dac", "tuned, caa", "tuned, dac"]
    helps, alone = table.loc["base, caa"], table.loc["tuned, dac"]
    assert (helps["runs"], helps["failed"], helps["verdict"]) == (3, 0, "helps")
    assert helps["prediction_low"] < helps["low"] < helps["difference"] < helps["high"]
    assert (helps["predicts"], helps["agreement"]) == ("helps", "as predicted")
    assert (alone["runs"], alone["failed"]) == (1, 1)
    assert pd.isna(alone["prediction_low"])
    assert list(group_frame(study("nothing").runs)["runs"]) == [0]


def test_cells_of_the_table_of_runs_do_not_hide_ours(study):
    runs = study("one group").runs
    given = {"difference": "theirs", "search.n_trials": 8}
    table = study_frame([replace(run, table={**run.table, **given}) for run in runs])
    assert table["difference"].tolist() == [pytest.approx(x) for x in (0.18, 0.15, 0.21)]
    assert table["search.n_trials"].tolist() == [8, 8, 8]


def test_the_order_of_groups_is_that_of_their_first_runs(study):
    runs = study("claims").runs
    names = [group.name for group in summarise(runs[::-1]).groups]
    assert names == ["tuned, dac", "tuned, caa", "base, dac", "base, caa"]


def test_what_the_script_is_given_is_plain_data(study, tmp_path):
    """A run's cells pass through JSON, as `workflow/scripts/study_summary.py` gets them."""
    runs = study("one group").runs
    cells = json.loads(json.dumps([run.table for run in runs]))
    write_summary(
        [replace(run, table=each) for run, each in zip(runs, cells, strict=True)],
        *(tmp_path / "deep" / "runs.csv", tmp_path / "other" / "report.html", tmp_path / "figures"),
    )
    assert len(pd.read_csv(tmp_path / "deep" / "runs.csv")) == 3
