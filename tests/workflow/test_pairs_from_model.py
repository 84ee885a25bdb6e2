"""Contrast pairs from the model's own solutions, sampled, graded and paired."""

import pytest

from tests.workflow.project import Project, read_rows

pytestmark = pytest.mark.workflow

KIND = {"kind": "model_correct_vs_wrong", "read": "last_token", "min_pairs": 2}


def test_pairs_of_a_models_own_right_and_wrong_solutions(finished_copy: Project):
    # A random model says a digit now and then, and the golds are digits: some samples are right.
    overlay = {"pairs": {**KIND, "samples": 48, "temperature": 1.0}}
    run = finished_copy.snakemake("results/pairs/train.jsonl", overlay=overlay)
    assert run.code == 0, run.text
    assert run.jobs == {"own_solutions": 1, "contrast_pairs": 1}
    rows = read_rows(finished_copy.results / "solutions" / "train.jsonl")
    assert 2 * len(rows) > 11 * 48  # most end before the limit
    told = {(row["id"], row["text"].strip(), row["correct"]) for row in rows}
    pairs = read_rows(finished_copy.results / "pairs" / "train.jsonl")
    assert len(pairs) >= 2
    for pair in pairs:
        assert (pair["id"], *pair["positive"], True) in told
        assert (pair["id"], *pair["negative"], False) in told


def test_too_few_pairs_are_refused(finished_copy: Project):
    overlay = {"pairs": {**KIND, "min_pairs": 8, "samples": 2, "temperature": 0.1}}
    run = finished_copy.snakemake("results/pairs/val.jsonl", overlay=overlay)
    assert run.code != 0
    assert "fewer than pairs.min_pairs = 8" in run.text
    assert "raise pairs.samples or pairs.temperature" in run.text
    assert (finished_copy.results / "solutions" / "val.jsonl").exists()
    assert not (finished_copy.results / "pairs" / "val.jsonl").exists()
