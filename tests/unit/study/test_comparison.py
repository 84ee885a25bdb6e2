"""Runs in one table: what is told, adjusted and refused."""

import csv
from dataclasses import replace

import pytest

from snakesteer.errors import UserError
from snakesteer.records.files import write_json
from snakesteer.records.ledger import append_reads
from snakesteer.study.comparison import as_markdown, table_of_runs, write_csv
from snakesteer.study.rows import RunRow, judged
from tests.unit.records.test_ledger import read


def write_run(folder, *, model="base", alpha=1.5, p=0.01, difference=0.1, **changes):
    """A results folder as far as a comparison reads it."""
    metrics = {"total_samples": 100, "evaluation_method": changes.get("grader", "numeric")}
    final = {
        "best_trial_params": {
            "steering_method": "caa",
            "steering_direction": "caa",
            "layer_id": 9,
            "steering_alpha": alpha,
            "steering_dose": alpha / 10,
            "scope": "all",
        },
        "baseline_validation_score": 0.25,
        "best_validation_score": 0.5,
        "recommendation": changes.get("recommendation", "steer"),
        "baseline_benchmark_metrics": {**metrics, "accuracy": 0.25},
        "steered_benchmark_metrics": {**metrics, "accuracy": 0.25 + difference},
        "accuracy_improvement": difference,
        "accuracy_improvement_ci": [difference - 0.05, difference + 0.05],
        "confidence": changes.get("confidence", 0.95),
        "mcnemar": {"gained": 15, "lost": 5, "p_value": p},
        "equivalence": {
            "margin": changes.get("margin", 0.02),
            "p_value": changes.get("equivalence", 1.0),
        },
        "num_test_samples": changes.get("n", 100),
        "config": {"model": {"name": model}},
        "test_reads": {
            "ledger": str(changes.get("ledger", folder / "no ledger.jsonl")),
            "final": {"reads": 9, "configurations": changes.get("configurations", 1)},
        },
    }
    write_json(folder / "test_final.json", final)
    hashes = changes.get("problems", ["a", "b", "c"])
    manifest = {"splits": {"test": {"question_sha256": hashes}}}
    write_json(folder / "splits" / "manifest.json", manifest)
    return folder


def test_rows_say_what_the_runs_found(tmp_path):
    folders = [
        write_run(tmp_path / "a", model="base", problems=["c", "b", "a"]),  # in another order
        write_run(
            tmp_path / "b",
            model="embedded",
            p=1.0,
            difference=0.0,
            equivalence=0.003,
            recommendation="leave alone",
        ),
        write_run(tmp_path / "c", model="base", alpha=-2.0),
    ]
    table = table_of_runs(folders)
    rows = table.rows
    assert (table.confidence, table.comparisons) == (0.95, 3)
    assert [(row.model, row.results) for row in rows] == [
        ("base", str(folders[0])),
        ("base", str(folders[2])),
        ("SmolLM2-135M-Instruct", str(folders[1])),
    ]
    first, _, alone = rows
    assert (first.layer, first.steering_alpha, first.steering_dose) == (9, 1.5, 0.15)
    assert (first.baseline, first.steered, first.difference) == (0.25, 0.35, 0.1)
    assert (first.low, first.high) == pytest.approx((0.05, 0.15))
    assert (first.gained, first.lost, first.n) == (15, 5, 100)
    assert (first.validation_unsteered, first.validation_steered) == (0.25, 0.5)
    assert (first.p_value, first.p_holm, first.verdict) == (0.01, 0.03, "helps")
    assert (first.recommendation, alone.recommendation) == ("steer", "leave alone")
    assert (alone.p_value, alone.p_holm) == (1.0, 1.0)
    assert (alone.margin, alone.equivalence_p, alone.verdict) == (0.02, 0.003, "equivalent")


def row(p, difference=0.1, equivalence=1.0):
    """A row with p-values."""
    interval = (difference - 0.05, difference + 0.05)
    numbers = dict.fromkeys(RunRow.__dataclass_fields__, 0)
    given = {"n": 50, "difference": difference, "low": interval[0], "high": interval[1]} | {
        "confidence": 0.95
    }
    return replace(RunRow(**numbers), **given, p_value=p, equivalence_p=equivalence)


def test_holm_by_hand():
    # 3 tests: 0.01·3, 0.02·2, 0.04·1, and none below the one before it.
    found = judged([row(0.04), row(0.01), row(0.02, -0.1)], 3)
    assert [each.p_holm for each in found] == pytest.approx([0.04, 0.03, 0.04])
    assert [each.verdict for each in found] == ["helps", "helps", "hurts"]
    # One alone would be called a help; of five it is not.
    assert judged([row(0.03)], 1)[0].verdict == "helps"
    assert {each.verdict for each in judged([row(0.03)] * 5, 5)} == {"inconclusive"}


def test_equivalence_is_a_test_of_each_run():
    rows = [row(0.8, 0.0, equivalence) for equivalence in (0.04, 0.06)]
    assert [each.verdict for each in judged(rows, 2)] == ["equivalent", "inconclusive"]
    # An effect within the margin is still an effect.
    assert judged([row(0.01, 0.1, 0.01)], 1)[0].verdict == "helps"


def test_what_was_tested_elsewhere_counts_too():
    # 4 comparisons, of which two are here: 0.01·4 and 0.02·3, not 0.01·2 and 0.02·1.
    found = judged([row(0.02), row(0.01)], 4)
    assert [each.p_holm for each in found] == [pytest.approx(0.06), pytest.approx(0.04)]
    assert [each.verdict for each in found] == ["inconclusive", "helps"]


def test_configurations_that_the_test_split_was_read_for_count(tmp_path):
    folders = [write_run(tmp_path / "a", configurations=2)]
    folders.append(write_run(tmp_path / "b", configurations=4, ledger=tmp_path / "ledger.jsonl"))
    table = table_of_runs(folders)
    assert table.comparisons == 4
    assert [row.p_holm for row in table.rows] == [pytest.approx(0.04)] * 2
    assert "the 4 configurations that the ledger of test reads has" in as_markdown(table)
    # By now there are more, and not all are other ones; controls are no comparisons.
    append_reads(tmp_path / "ledger.jsonl", [read(f"c{number % 6}") for number in range(9)])
    append_reads(tmp_path / "ledger.jsonl", [read("d", purpose="controls")])
    assert table_of_runs(folders).comparisons == 6


def test_tables(tmp_path):
    folders = [
        write_run(tmp_path / "a|b"),
        write_run(tmp_path / "c", alpha=-1.5, difference=0.0, p=0.9, recommendation="leave alone"),
    ]
    found = table_of_runs(folders)
    text = as_markdown(found)
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 4
    cells = [cell.strip() for cell in table[2].replace("\\|", "/").strip("| ").split(" | ")]
    assert cells[0] == "base"
    assert cells[2].startswith("caa with the caa direction at layer 9")
    assert cells[3:] == [
        *("1.5", "steer", "100", "25.0%", "35.0%", "+10.0 points", "+5.0 to +15.0 points"),
        *("0.01", "0.02", "helps"),
    ]
    assert "| leave alone | 100 |" in table[3]
    assert table[3].endswith("| 0.9 | 0.9 | inconclusive |")
    assert len(table[0].split(" | ")) == len(table[3].split(" | ")) == 13
    assert "adjusted over the 2 (Holm 1979)" in text
    assert "*Equivalent* is within 2 points" in text
    write_csv(tmp_path / "out" / "compare.csv", found.rows)
    with (tmp_path / "out" / "compare.csv").open(encoding="utf-8", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["difference"], first["p_holm"]) == ("0.1", "0.02")
    assert (second["recommendation"], second["margin"]) == ("leave alone", "0.02")
    assert (second["p_value"], second["equivalence_p"]) == ("0.9", "1.0")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"problems": ["a", "b", "d"]}, "the test problems"),
        ({"grader": "strict"}, "the grader"),
        ({"confidence": 0.9}, "the confidence"),
        ({"margin": 0.05}, "the margin of equivalence"),
        ({"n": 50}, "the answers per problem"),
    ],
)
def test_runs_that_do_not_compare_are_refused(tmp_path, change, told):
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", **change)]
    with pytest.raises(UserError, match=f"b cannot be compared with .*a: {told}"):
        table_of_runs(folders)


def test_missing_and_doubled_runs_are_refused(tmp_path):
    folder = write_run(tmp_path / "a")
    with pytest.raises(UserError, match="named twice"):
        table_of_runs([folder, tmp_path / "b" / ".." / "a"])
    with pytest.raises(UserError, match=r"test_final\.json cannot be read: it does not exist"):
        table_of_runs([folder, tmp_path / "c"])
