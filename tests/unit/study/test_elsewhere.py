"""What steering costs elsewhere, in the study's table and on its page."""

import pandas as pd
import pytest

from snakesteer.records.files import read_json, write_json
from snakesteer.study.elsewhere import NOTHING, elsewhere_of, elsewhere_table
from snakesteer.study.summary import write_summary
from tests.unit.study.studies import replicates


def estimate(value, width):
    return {"estimate": value, "ci": [value - width, value + width]}


def write_record(folder, kl=0.02, task=None, **changes):
    """What test_final.json of a run says of it."""
    record = {
        "neutral": {"kl": estimate(kl, 0.005), "perplexity_ratio": estimate(1 + kl, 0.01)},
        "test_answers": {
            "length_change": estimate(-3.0, 1.0),
            "reworded": estimate(0.25, 0.125),
            "lost": estimate(0.1, 0.05),
        },
        "second_task": task,
        **changes,
    }
    final = {**read_json(folder / "test_final.json"), "off_target": record}
    write_json(folder / "test_final.json", final)
    return final


@pytest.fixture
def runs(tmp_path):
    """Three replicates with a record, and one run without."""
    made = replicates(tmp_path / "a", "a", [{}, {}, {}])
    for run, kl in zip(made, (0.01, 0.02, 0.06), strict=True):
        write_record(run.results, kl)
    return [*made, *replicates(tmp_path / "b", "b", [{}])]


def test_the_table_of_runs_has_numbers_with_their_intervals(runs, tmp_path):
    write_summary(runs, tmp_path / "runs.csv", tmp_path / "report.html", tmp_path / "figures")
    table = pd.read_csv(tmp_path / "runs.csv").set_index("name")
    assert [*table["neutral_kl"][:3]] == [0.01, 0.02, 0.06]
    first = table.loc[runs[0].name]
    assert (first["neutral_kl_low"], first["neutral_kl_high"]) == (0.005, 0.015)
    assert first["perplexity_ratio"] == pytest.approx(1.01)
    assert (first["length_change_low"], first["right_lost_high"]) == (-4.0, pytest.approx(0.15))
    assert first["reworded"] == 0.25
    assert table["second_task"].isna().all()
    assert table.loc[runs[3].name].filter(like="neutral_kl").isna().all()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="elsewhere"' in page
    assert "0.03 (0.005 to 0.065)" in page


def test_a_study_without_records_says_nothing_of_it(tmp_path):
    made = replicates(tmp_path, "b", [{}, {}])
    write_summary(made, tmp_path / "runs.csv", tmp_path / "report.html", tmp_path / "figures")
    assert 'id="elsewhere"' not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_run_may_do_without_a_record(runs):
    final = read_json(runs[0].results / "test_final.json")
    assert elsewhere_of(final).neutral_kl == 0.01
    assert elsewhere_of({**final, "off_target": None}) == NOTHING
    assert elsewhere_of(read_json(runs[3].results / "test_final.json")) == NOTHING


def test_what_there_is_not_is_missing(runs):
    results = runs[0].results
    task = {"difference": -0.04, "difference_ci": [-0.1, 0.02]}
    nothing = {"estimate": None, "ci": None}
    answers = {"length_change": estimate(1.0, 0.5), "reworded": None, "lost": None}
    neutral = {"kl": nothing, "perplexity_ratio": nothing}
    found = elsewhere_of(write_record(results, task=task, neutral=neutral, test_answers=answers))
    assert (found.neutral_kl, found.neutral_kl_low, found.reworded_high) == (None, None, None)
    assert (found.second_task, found.second_task_high) == (-0.04, 0.02)
    other = elsewhere_of(read_json(runs[1].results / "test_final.json"))
    table = elsewhere_table({"a": [found, other], "b": [NOTHING], "c": [found]})
    assert [row[:2] for row in table.rows] == [("a", "2"), ("c", "1")]
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert cells["KL, nats per token"] == "0.02 (0.015 to 0.025), of 1"
    assert cells["Longer answers, tokens"] == "−1.0 (−4.0 to +1.5)"
    assert cells["Second task"].endswith(", of 1")
    assert dict(zip(table.columns, table.rows[1], strict=True))["KL, nats per token"] == ""
    assert elsewhere_table({"b": [NOTHING]}).rows == ()
