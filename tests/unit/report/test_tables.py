"""Tables that belong to no figure, and what is said of luck."""

from dataclasses import replace

import pytest

from snakesteer.evaluation.control_tests import family_of
from snakesteer.report.tables import luck, make_tables, rounding
from snakesteer.report.wording import signed


def test_tables_of_a_steered_run(report):
    evidence = report("helps").evidence
    tables = make_tables(evidence)
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows), table.caption
    first = tables["answers"].rows[0]
    assert first == ("Numeric match (the measure)", "48.0%", "70.0%")
    # All problems of the run have one step.
    gained, lost = evidence.test["mcnemar"]["gained"], evidence.test["mcnemar"]["lost"]
    assert tables["steps"].rows == (("1", "100", "48.0%", "70.0%", str(gained), str(lost)),)
    assert [row[:2] for row in tables["splits"].rows] == [
        *(("train", "64"), ("val", "48"), ("test", "100"))
    ]
    assert all(row[1:] == ("0", "0") for row in tables["overlaps"].rows)
    run = dict(tables["run"].rows)
    assert run["snakesteer commit"] == "0123456789abcdef with local changes (abababababab…)"
    assert run["Device and dtype"] == "cpu, bfloat16"
    assert run["Machine"] == "A GPU (64 GiB), A processor, 2 cores, 8 GiB, Linux"
    identity = "mostly token identity"
    assert tables["vectors"].rows == (
        ("caa, layer 9", "60", "+0.60", "+0.30 to +0.80", "−0.05", "+0.01", "none"),
        ("caa, layer 14", "60", "+0.70", "+0.40 to +0.90", "+0.93", "+0.85", identity),
        ("caa, layer 20", "60", "+0.10", "−0.20 to +0.30", "−0.05", "+0.01", "mostly noise"),
    )
    assert tables["gate"].rows == (
        ("no steering", "all equal", "0", "", "", "", "0.016 of 0.05"),
        ("caa", "all equal", "0", "7", "90", "0.5", "0.018 of 0.06"),
    )


def test_what_splits_share_is_named_as_it_was_masked(report):
    evidence = report("helps").evidence
    assert make_tables(evidence)["overlaps"].columns[1:] == ("Word for word", "Up to their numbers")
    overlaps = {"train/val": {"exact": 0, "near": 0, "group": 0}}
    manifest = {**evidence.manifest, "near_duplicates": "names", "overlaps": overlaps}
    table = make_tables(replace(evidence, manifest=manifest))["overlaps"]
    assert table.columns[2:] == ("Up to their numbers and names", "Of one group")
    assert table.rows == (("train and val", "0", "0", "0"),)


def test_controls_of_one_kind_are_counted(report):
    evidence = report("helps").evidence
    found = {
        "random": family_of([0.40, 0.45, 0.50, 0.70], 0.7),
        "shuffled": family_of([0.4] * 19, 0.7),
    }
    counted = replace(evidence, controls={**evidence.controls, "families": found})
    assert make_tables(counted)["families"].rows == (
        ("Random directions", "40.0% to 70.0%", "3 of 4", "0.4", "0.2"),
        ("Vectors of shuffled labels", "40.0% to 40.0%", "19 of 19", "0.05", "0.05"),
    )
    heads = replace(evidence, controls={**evidence.controls, "families": {}})
    assert make_tables(heads)["families"].rows == ()


@pytest.mark.parametrize("name", ["helps", "left alone"])
def test_the_tested_steering_against_each_control(report, name):
    evidence = report(name).evidence
    rows = make_tables(evidence)["against"].rows
    controls = evidence.arms[2:]
    assert [row[0] for row in rows] == [arm.label for arm in controls]
    accuracy = evidence.arms[1].accuracy
    for row, arm in zip(rows, controls, strict=True):
        _, ahead, interval, gained, lost, *_ = row
        assert ahead == signed(100 * (accuracy - arm.accuracy))
        assert int(gained) - int(lost) == round(100 * (accuracy - arm.accuracy))
        low, high = (float(end.replace("−", "-")) for end in interval.split(" to "))
        assert low <= 100 * (accuracy - arm.accuracy) <= high


def test_words_for_one_steering_against_another(report):
    rows = make_tables(report("helps").evidence)["against"].rows
    assert {row[-1] for row in rows} == {"better"}
    evidence = report("left alone").evidence
    first, second, *others = evidence.controls["controls"]
    told = [
        {**control, "against_chosen": {**control["against_chosen"], "verdict": verdict}}
        for control, verdict in ((first, "hurts"), (second, "equivalent"))
    ]
    changed = replace(evidence, controls={**evidence.controls, "controls": [*told, *others]})
    found = [row[-1] for row in make_tables(changed)["against"].rows]
    assert found == ["worse", "equivalent", *["inconclusive"] * len(others)]


def test_luck(report):
    evidence = report("helps").evidence
    text = luck(evidence)
    assert "differed from the unsteered model by +22.9 points, on test by +22.0 points" in text
    lost = luck(report("left alone").evidence)
    assert "by −4.2 points, on test by 0.0 points" in lost
    seeds = {"samples": 4, "baseline_sd": 0.012, "steered_sd": 0.02}
    sampled = replace(evidence, test={**evidence.test, "seeds": seeds})
    assert luck(sampled).startswith(text)
    assert "answered 4 times" in luck(sampled)
    assert "1.2 points unsteered and 2.0 steered" in luck(sampled)


def test_rounding(report):
    evidence = report("helps").evidence
    assert rounding(evidence) == (
        "Answered again with 16 slots instead of 32 and no steering, 7 of the 48 validation "
        "answers read differently and 3 changed between right and wrong: effects below that are "
        "rounding."
    )
    assert rounding(evidence) in report("helps").html

    def told(**changes):
        floor = changes and {**evidence.baseline["noise_floor"], **changes}
        return rounding(
            replace(evidence, baseline={**evidence.baseline, "noise_floor": floor or None})
        )

    assert "7 of the first 20 validation answers read differently" in told(n=20)
    assert told(gained=0, lost=0).endswith("and none changed between right and wrong.")
    same = told(texts_changed=0, gained=0, lost=0)
    assert same.endswith("no steering, the 48 validation answers read the same.")
    assert told() == ""
