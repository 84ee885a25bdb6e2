"""A run of a study: what its folder tells, finished or not."""

import os

import pytest

from snakesteer.errors import UserError
from snakesteer.records.files import write_json, write_jsonl, write_text
from snakesteer.study.costs import cost_of, total
from snakesteer.study.last_words import LONGEST_WORDS, last_words
from snakesteer.study.runs import (
    FailedRun,
    FinishedRun,
    StudyRun,
    differences_by_problem,
    read_run,
    seeds_words,
    varying,
)
from tests.unit.study.studies import write_failed, write_finished


def run_in(folder, **table) -> StudyRun:
    return StudyRun("one", "all", folder, table)


def test_a_finished_run(tmp_path):
    found = read_run(run_in(write_finished(tmp_path, gained=15, lost=5)))
    assert isinstance(found, FinishedRun)
    assert found.row.difference == pytest.approx(0.1)
    assert (found.row.gained, found.row.lost, found.row.confidence) == (15, 5, 0.95)
    assert found.seeds == {"data.seed": 0, "search.seed": 0}
    assert sum(found.differences.values()) == 10.0
    assert len(found.differences) == 100
    # 1500 in the search, 100 answers of 20 tokens twice, and a control of 10 tokens each.
    cost = found.cost
    assert (cost.device, cost.seconds, cost.new_tokens) == ("A processor", 90.5, 1500 + 4000 + 1000)


def test_several_answers_to_a_problem_are_one_difference(tmp_path):
    rows = [("a", True, True), ("b", False, True), ("a", False, True), ("b", False, False)]
    names = ("question", "baseline_correct", "steered_correct")
    path = tmp_path / "test_generations.jsonl"
    write_jsonl(path, (dict(zip(names, row, strict=True)) for row in rows))
    assert differences_by_problem(path) == {"a": 0.5, "b": 0.5}
    write_jsonl(path, [{"question": "a", "baseline_correct": True}])
    with pytest.raises(UserError, match="without 'steered_correct'"):
        differences_by_problem(path)


def test_a_failed_run_says_how_far_it_came_and_why_it_ended(tmp_path):
    folder = write_failed(tmp_path)
    # Another job wrote last, but it is the one that failed that counts.
    os.utime(folder / "logs" / "search_0.log", (1, 1))
    found = read_run(run_in(folder))
    assert isinstance(found, FailedRun)
    assert found.status == "failed"
    assert found.words.stage == "answered the validation split without steering"
    assert (found.words.log, found.words.words) == ("logs/search_0.log", "ValueError: lost")
    assert (found.cost.device, found.cost.seconds, found.cost.new_tokens) == ("", 0.0, 300)


def test_a_run_that_was_stopped_has_not_failed(tmp_path):
    folder = write_failed(tmp_path)
    (folder / "logs" / "search_0.log").unlink()
    write_text(folder / "study" / "journal.log", "{}")
    found = read_run(run_in(folder))
    assert isinstance(found, FailedRun)
    assert found.status == "not finished"
    assert found.words.stage == "was searching"
    assert found.words.words == "made a vector"


def test_a_run_that_never_began(tmp_path):
    words = last_words(tmp_path / "nowhere")
    assert (words.stage, words.log, words.words, words.error) == ("left no file", "", "", False)


def test_last_words_are_short_and_in_one_line(tmp_path):
    write_failed(tmp_path, words="x" * 2 * LONGEST_WORDS)
    assert last_words(tmp_path).words == "x" * LONGEST_WORDS + " …"
    write_text(tmp_path / "logs" / "search_0.log", "")
    write_text(tmp_path / "logs" / "vector_caa_9.log", "")
    assert last_words(tmp_path).words == ""


@pytest.mark.parametrize("harm", ["no JSON", "no generations", "no difference"])
def test_damaged_results_are_a_failure_that_says_so(tmp_path, harm):
    folder = write_finished(tmp_path)
    if harm == "no JSON":
        (folder / "test_final.json").write_text("{", encoding="utf-8")
    elif harm == "no generations":
        (folder / "test_generations.jsonl").unlink()
    else:
        write_json(folder / "test_final.json", {"best_trial_params": {}, "mcnemar": {}})
    found = read_run(run_in(folder))
    assert isinstance(found, FailedRun)
    assert found.status == "failed"
    told = {
        "no JSON": "is not a JSON file",
        "no generations": "does not exist",
        "no difference": "'accuracy_improvement_ci'",
    }
    assert told[harm] in found.words.words


def test_seeds(tmp_path):
    folder = write_finished(tmp_path)
    (folder / "provenance.json").unlink()
    table = {"search.seed": 3, "prompt.shots_seed": 3, "search.n_trials": 8}
    found = read_run(run_in(folder, **table))
    assert found.seeds == {"search.seed": 3, "prompt.shots_seed": 3}
    assert seeds_words(found.seeds) == "3"
    assert seeds_words({"a": 1, "b": 2}) == "a: 1, b: 2"
    assert seeds_words({}) == ""
    assert varying([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 2}]) == ["b"]
    assert varying([{"a": 1}, {"a": 1}]) == []


def test_costs_of_what_is_not_there_are_nothing(tmp_path):
    cost = cost_of(tmp_path, None)
    assert (cost.device, cost.seconds, cost.new_tokens) == ("", 0.0, 0)
    folder = write_finished(tmp_path)
    (folder / "controls.json").write_text("[", encoding="utf-8")
    found = read_run(run_in(folder))
    assert found.cost.new_tokens == 1500 + 4000


def test_what_runs_share_costs_once(tmp_path):
    for name in ("a", "b"):
        write_json(tmp_path / name / "controls.json", {})
        (tmp_path / name / "benchmarks").mkdir()
        (tmp_path / name / "benchmarks" / "search.tsv").write_text("s\n10\n")
        (tmp_path / name / "benchmarks" / "baseline.tsv").symlink_to(tmp_path / "baseline.tsv")
        (tmp_path / name / "baseline").symlink_to(tmp_path / "shared")
    (tmp_path / "baseline.tsv").write_text("s\n4\n")
    write_json(tmp_path / "shared" / "val.json", {"mean_new_tokens": 3.0, "total_samples": 10})
    costs = [cost_of(tmp_path / name, None) for name in ("a", "b")]
    assert [cost.seconds for cost in costs] == [14.0, 14.0]
    assert (total(costs).seconds, total(costs).new_tokens) == (24.0, 30)
