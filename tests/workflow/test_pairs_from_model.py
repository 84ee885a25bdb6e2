"""Contrast pairs from the model's own solutions, sampled, graded and paired."""

import json

import numpy as np
import pytest

from snakesteer.records.tensors import read_tensors
from snakesteer.steering.vector import read_vector
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.directions.caa import mean_difference
from tests.workflow.project import Project, read_rows, write_rows

pytestmark = pytest.mark.workflow

PARTS = ("activations", "without_token_means")
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
    # The same samples make the other kinds; one that averages them goes on to vectors.
    golds = {row["id"] for row in read_rows(finished_copy.results / "splits" / "train.jsonl")}
    for kind in ("gold_vs_own_wrong", "own_right_vs_wrong"):
        overlay["pairs"] |= {"kind": kind, "read": "response_mean"}
        run = finished_copy.snakemake("results/pairs/train.jsonl", overlay=overlay)
        assert run.code == 0, run.text
        assert run.jobs == {"contrast_pairs": 1}
        pairs = read_rows(finished_copy.results / "pairs" / "train.jsonl")
        assert {pair["id"] for pair in pairs} <= golds
        assert max(len(pair["negative"]) for pair in pairs) > 1
    assert max(len(pair["positive"]) for pair in pairs) > 1
    overlay["pairs"]["remove_token_means"] = True
    run = finished_copy.snakemake("vectors", overlay=overlay)
    assert run.code == 0, run.text
    assert run.jobs["token_means"] == 2
    found = [
        read_activations(finished_copy.results / part / "train" / "layer_2.h5") for part in PARTS
    ]
    assert found[0].ids == tuple(pair["id"] for pair in pairs)
    _, header = read_tensors(finished_copy.results / "vectors" / "caa" / "layer_2.safetensors")
    assert header["pairs"] == len(pairs)
    raw = read_vector(finished_copy.results / "vectors" / "caa" / "layer_2.safetensors").raw
    plain, adjusted = (mean_difference(activations) for activations in found)
    np.testing.assert_allclose(raw, adjusted, atol=1e-5)
    assert np.linalg.norm(plain - adjusted) > 0.01 * np.linalg.norm(plain)


def test_two_instructions_make_a_vector_without_solutions(finished_copy: Project):
    overlay = {"pairs": {"kind": "prompt_contrast", "read": "last_prompt_token"}}
    run = finished_copy.snakemake("results/test_final.json", overlay=overlay)
    assert run.code == 0, run.text
    assert run.jobs["contrast_pairs"] == 2
    assert "own_solutions" not in run.jobs
    pairs = read_rows(finished_copy.results / "pairs" / "train.jsonl")
    assert {(*pair["positive"], *pair["negative"]) for pair in pairs} == {
        ("Think step by step.", "Answer with the number alone.")
    }
    final = json.loads((finished_copy.results / "test_final.json").read_text(encoding="utf-8"))
    assert final["test_probe_metrics"]["pair_kind"] == "prompt_contrast"
    assert final["test_probe_metrics"]["pairs"] == 8
    assert finished_copy.snakemake("-n", "results/test_final.json", overlay=overlay).idle
    overlay["pairs"]["prompts"] = ["Good.", "Bad."]
    planned = finished_copy.snakemake("-n", "results/test_final.json", overlay=overlay).jobs
    assert planned["contrast_pairs"] == planned["activations"] == 2


def test_bare_numbers_are_told_what_to_set(finished_copy: Project):
    for name in ("train", "test"):
        path = finished_copy.folder / "problems" / f"{name}.jsonl"
        rows = [{**row, "answer": row["answer"].rpartition("#### ")[2]} for row in read_rows(path)]
        write_rows(path, rows)
    overlay = {"pairs": {"read": "before_last_number"}}
    run = finished_copy.snakemake("results/activations/train/layer_1.h5", overlay=overlay)
    assert run.code != 0
    assert "0 differ in more than one number" in run.text
    assert "pairs.read: first_difference" in run.text


def test_too_few_pairs_are_refused(finished_copy: Project):
    overlay = {"pairs": {**KIND, "min_pairs": 8, "samples": 2, "temperature": 0.1}}
    run = finished_copy.snakemake("results/pairs/val.jsonl", overlay=overlay)
    assert run.code != 0
    assert "fewer than pairs.min_pairs = 8" in run.text
    assert "raise pairs.samples or pairs.temperature" in run.text
    assert (finished_copy.results / "solutions" / "val.jsonl").exists()
    assert not (finished_copy.results / "pairs" / "val.jsonl").exists()
