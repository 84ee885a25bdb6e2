"""The verdict of a study in words, and what is said before one relies on it."""

from dataclasses import replace

import pytest

from snakesteer.report.wording import count
from snakesteer.study.tables import choices_table, costs_table, groups_table, spread_table
from snakesteer.study.words import duration, in_a_row, study_verdict


def test_one_group(study):
    [group] = study("one group").found.groups
    found = study_verdict([group], 0)
    result = group.result
    assert found.tone == "helps"
    assert found.headline == "Steering helps: 18.0 points more on average over 3 runs"
    assert "some/base answers 68.0% of its test problems correctly on average over 3" in found.text
    assert "The difference is +18.0 points (95% interval " in found.text
    assert "One more run with other seeds is expected within " in found.text
    low = result.heterogeneity.low
    assert any("is a statement on the average" in each for each in found.cautions) == (low < 0)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("hurts", "Steering hurts: 18.0 points fewer on average over 3 runs"),
        (
            "equivalent",
            "Steering changes nothing that matters: less than 2.0 points on average over 3 runs",
        ),
        ("inconclusive", "Inconclusive: the data leave room for +"),
    ],
)
def test_headlines(study, verdict, said):
    [group] = study("one group").found.groups
    judged = replace(group, result=replace(group.result, verdict=verdict))
    found = study_verdict([judged], 0)
    assert found.headline.startswith(said)
    assert found.tone == verdict


def test_groups_that_say_different_things_have_no_tone(study):
    groups = study("claims").found.groups
    assert study_verdict(groups, 0).tone == "inconclusive"
    assert study_verdict([groups[0], groups[2]], 0).tone == "helps"
    assert study_verdict(groups[1:3], 0).tone == "hurts"
    nothing = study_verdict(study("nothing").found.groups, 0)
    assert (nothing.headline, nothing.text) == ("No run has finished yet", "")


def test_cautions(study):
    groups = study("claims").found.groups
    said = study_verdict(groups, 3).cautions
    assert said[0] == "1 of 11 runs has no result, and is in none of these numbers."
    assert said[1].startswith("One run says nothing of what other seeds would have found (tuned, d")
    assert said[-1].startswith(
        "The test splits of this study have been read for 3 configurations that none of its runs"
    )
    assert not any("have been read" in each for each in study_verdict(groups, 0).cautions)
    stable = replace(groups[0].result.stability, steer=1)
    alone = replace(groups[0], result=replace(groups[0].result, stability=stable))
    told = "base, caa: validation recommends steering in 1 of 3 runs; without the test split"
    assert any(each.startswith(told) for each in study_verdict([alone], 0).cautions)
    repeated = replace(groups[0], result=replace(groups[0].result, seeds=()))
    told = "base, caa: no seed differs between its runs."
    assert any(each.startswith(told) for each in study_verdict([repeated], 0).cautions)
    assert not any("no seed differs" in each for each in said)
    wide = replace(groups[0].result.heterogeneity, low=-0.1, high=0.4)
    unlike = replace(groups[0], result=replace(groups[0].result, heterogeneity=wide))
    told = "base, caa: that it helps is a statement on the average. One more run may find anything"
    assert any(each.startswith(told) for each in study_verdict([unlike], 0).cautions)


def test_tables_have_a_row_for_every_group(study):
    groups = study("claims").found.groups
    table = groups_table(groups)
    assert [row[0] for row in table.rows] == [group.name for group in groups]
    assert [row[7] for row in table.rows] == ["3", "3", "3", "1 of 2"]
    assert table.columns[5:7] == ("Predicted", "That is")
    assert "Predicted" not in groups_table(study("one group").found.groups).columns
    [nothing] = groups_table(study("nothing").found.groups).rows
    assert nothing[1] == "no result"
    for each in (table, spread_table(groups), choices_table(groups), costs_table(groups)):
        assert all(len(row) == len(each.columns) for row in each.rows), each.caption
    assert len(spread_table(groups).rows) == 3
    chosen = choices_table(groups).rows[0]
    assert chosen[1:5] == ("caa (3 of 3)", "caa (3 of 3)", "9 (2 of 3)", "+0.15 to +0.2")
    assert chosen[6] == "3 of 3"
    assert chosen[7].startswith("+0.9")
    *_, every = costs_table(groups).rows
    assert every[:3] == ("All", "11", "15 min")
    assert every[3] == f"{10 * 6500 + 300:,}"


def test_numbers_in_words():
    assert (count(1, "run"), count(2, "run")) == ("1 run", "2 runs")
    assert (in_a_row(["a"]), in_a_row(["a", "b", "c"])) == ("a", "a, b and c")
    said = (duration(83.2), duration(599), duration(3600), duration(7320))
    assert said == ("83 s", "599 s", "60 min", "2 h 02 min")
