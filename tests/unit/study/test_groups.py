"""Groups: pooled, judged among each other, and held against claims."""

from dataclasses import replace

import numpy as np
import pytest

from snakesteer.errors import UserError
from snakesteer.study.groups import agreement
from snakesteer.study.pooling import pool, table_of_differences
from snakesteer.study.summary import summarise
from tests.unit.study.studies import N, replicates, write_failed, write_finished

HELPS = [{"gained": 22, "lost": 4}, {"gained": 20, "lost": 5}, {"gained": 24, "lost": 3}]
NOTHING = [{"gained": 3, "lost": 3}, {"gained": 4, "lost": 3}]


def test_a_group_is_pooled_from_the_differences_of_its_problems(tmp_path):
    found = summarise(replicates(tmp_path, "base", HELPS))
    [group] = found.groups
    pooled = pool(table_of_differences([run.differences for run in group.finished]), 0.95)
    result = group.result
    assert result.difference == pytest.approx((18 + 15 + 21) / 300)
    assert (result.low, result.high) == (pooled.low, pooled.high)
    assert result.p_holm == result.p_value == pooled.p_value
    assert result.verdict == "helps"
    assert (result.heterogeneity.low, result.heterogeneity.high) == (
        pooled.prediction_low,
        pooled.prediction_high,
    )
    assert (result.n, result.problems, result.seeds) == ((N, N), N, ("search.seed",))
    assert result.baseline == pytest.approx(0.5)
    assert result.steered == pytest.approx(0.5 + result.difference)
    assert group.model == "some/base"
    assert group.agreement is None


def test_other_test_problems_are_seen(tmp_path):
    runs = [{**each, "first": 60 * at} for at, each in enumerate(HELPS)]
    [group] = summarise(replicates(tmp_path, "base", runs)).groups
    assert group.result.problems == 220


def test_one_run_is_what_it_is(tmp_path):
    [group] = summarise(replicates(tmp_path, "base", HELPS[:1])).groups
    row, result = group.finished[0].row, group.result
    assert result.heterogeneity is None
    for name in ("difference", "low", "high", "p_value", "equivalence_p", "verdict"):
        assert getattr(result, name) == getattr(row, name)


def test_holm_over_groups_and_over_runs(tmp_path):
    runs = [*replicates(tmp_path, "base", HELPS), *replicates(tmp_path, "tuned", NOTHING)]
    base, tuned = summarise(runs).groups
    assert base.result.p_holm == pytest.approx(2 * base.result.p_value)
    assert tuned.result.p_holm == tuned.result.p_value  # the larger of two
    assert (base.result.verdict, tuned.result.verdict) == ("helps", "inconclusive")
    rows = sorted((run.row for run in base.finished + tuned.finished), key=lambda r: r.p_value)
    assert rows[0].p_holm == pytest.approx(5 * rows[0].p_value)


def test_configurations_of_others_count_for_runs_on_the_same_problems(tmp_path):
    runs = replicates(tmp_path, "base", [{**each, "configurations": 9} for each in HELPS])
    assert summarise(runs).comparisons == 9
    elsewhere = replicates(tmp_path, "other", [{"first": 1000, "configurations": 4}])
    assert summarise([*runs, *elsewhere]).comparisons == 13
    assert summarise(elsewhere + replicates(tmp_path, "third", [{"first": 2000}])).comparisons == 5


def test_equivalence_needs_problems_and_not_only_runs(tmp_path):
    # Ten runs in which nothing changed on the same 100 problems: 0.98^100 is no small chance.
    unchanged = [{"gained": 0, "lost": 0}] * 10
    [group] = summarise(replicates(tmp_path / "a", "base", unchanged)).groups
    assert group.result.equivalence_p == pytest.approx(0.98**100)
    assert group.result.verdict == "inconclusive"
    # On problems of their own they are a thousand.
    apart = [{**each, "first": 1000 * at} for at, each in enumerate(unchanged)]
    [group] = summarise(replicates(tmp_path / "b", "base", apart)).groups
    assert group.result.equivalence_p < 0.001
    assert group.result.verdict == "equivalent"


def test_failed_runs_are_there_and_in_no_number(tmp_path):
    runs = replicates(tmp_path, "base", HELPS)
    failed = replace(runs[0], name="lost", results=write_failed(tmp_path / "lost"))
    alone = replace(failed, name="alone", group="tuned", table={"model.name": "embedded"})
    found = summarise([*runs, failed, alone])
    base, tuned = found.groups
    assert [each.run.name for each in base.failed] == ["lost"]
    assert base.result.difference == pytest.approx(0.18)
    assert tuned.result is None
    assert tuned.model == "SmolLM2-135M-Instruct"
    assert found.comparisons == 3
    assert [each.run.name for each in found.runs] == [run.name for run in [*runs, failed, alone]]


@pytest.mark.parametrize(
    ("predicts", "found", "said"),
    [
        ("helps", "helps", "as predicted"),
        ("Helps", "hurts", "not as predicted"),
        ("helps", "equivalent", "not as predicted"),
        ("no effect", "equivalent", "as predicted"),
        ("no effect", "inconclusive", "open"),
        ("no effect", "hurts", "not as predicted"),
        ("hurts", "hurts", "as predicted"),
        ("α near 0", "equivalent", "for the reader to judge"),
        ("", "helps", None),
    ],
)
def test_claims(predicts, found, said):
    assert agreement(predicts, found) == said


def test_claims_are_those_of_the_table(tmp_path):
    runs = replicates(tmp_path, "base", HELPS, predicts="helps ")
    runs[1] = replace(runs[1], table={})
    [group] = summarise(runs).groups
    assert (group.predicts, group.agreement) == ("helps", "as predicted")


def test_runs_that_are_no_replicates_are_refused(tmp_path):
    runs = replicates(tmp_path, "base", [{}, {"margin": 0.05}])
    told = r"base-1 and base-0 are in one group \(base\), but the margin of equivalence differ"
    with pytest.raises(UserError, match=told):
        summarise(runs)
    other = replicates(tmp_path / "b", "base", [{}]) + replicates(
        tmp_path / "c", "tuned", [{"margin": 0.05}]
    )
    assert [group.result.margin for group in summarise(other).groups] == [0.02, 0.05]


def test_no_runs_and_names_that_come_twice_are_refused(tmp_path):
    with pytest.raises(UserError, match="no runs"):
        summarise([])
    runs = replicates(tmp_path, "base", HELPS[:1])
    with pytest.raises(UserError, match="base-0 is the name of two runs"):
        summarise([*runs, replace(runs[0], results=write_finished(tmp_path / "x"))])


def test_the_average_of_runs_is_that_of_the_rows(tmp_path):
    [group] = summarise(replicates(tmp_path, "base", HELPS)).groups
    assert group.result.difference == pytest.approx(
        np.mean([run.row.difference for run in group.finished])
    )
