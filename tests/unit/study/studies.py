"""Results folders of runs of a study, as far as its summary reads them; results are made up."""

import random
from pathlib import Path
from typing import Any

import numpy as np

from snakesteer.config import Config
from snakesteer.evaluation.answers import Answer
from snakesteer.evaluation.paired import compare_paired
from snakesteer.records.files import write_json, write_jsonl, write_text
from snakesteer.records.ledger import count_reads
from snakesteer.steering.vector import Vector, write_vector
from snakesteer.study.runs import StudyRun

N = 100
HIDDEN = 8


def answers(outcomes: list[bool]) -> list[Answer]:
    return [
        Answer(
            id=f"test-{number:05}",
            correct=right,
            strict=right,
            flexible=right,
            extracted="1" if right else "2",
            text="1",
            finish="stop",
            prompt_tokens=10,
            new_tokens=20,
        )
        for number, right in enumerate(outcomes)
    ]


def write_finished(
    folder: Path,
    *,
    gained: int = 15,
    lost: int = 5,
    seed: int = 0,
    first: int = 0,
    n: int = N,
    model: str = "some/base",
    layer: int = 9,
    dose: float = 0.2,
    recommendation: str = "steer",
    margin: float = 0.02,
    vector: np.ndarray | None = None,
    configurations: int = 1,
    hostile: str = "",
) -> Path:
    """A finished run.

    Args:
        folder: Its results folder.
        gained: Problems, drawn by the seed.
        lost: Problems, drawn by the seed.
        seed: Its seed.
        first: Number of its first test problem; runs share those that both have.
        n: Test problems.
        model: Its name.
        layer: That it chose.
        dose: That it chose.
        recommendation: Of validation.
        margin: Of equivalence.
        vector: What the chosen one is; none is written without.
        configurations: That the test split was read for.
        hostile: A text that names and words end with.
    """
    rng = random.Random(seed)
    before = [number < n // 2 for number in range(n)]
    rng.shuffle(before)
    right, wrong = (
        [i for i, each in enumerate(before) if each is value] for value in (True, False)
    )
    changed = {*rng.sample(right, lost), *rng.sample(wrong, gained)}
    after = [each != (number in changed) for number, each in enumerate(before)]
    evaluation = Config().evaluation.model_copy(
        update={"margin": margin, "bootstrap_resamples": 999}
    )
    final: dict[str, Any] = {
        "best_trial_params": {
            "steering_method": "caa",
            "steering_direction": "caa",
            "layer_id": layer,
            "steering_alpha": 10 * dose,
            "steering_dose": dose,
            "scope": "all",
        },
        "baseline_validation_score": 0.25,
        "best_validation_score": 0.5,
        "recommendation": recommendation,
        **compare_paired([answers(before)], [answers(after)], evaluation),
        "num_test_samples": n,
        "config": {"model": {"name": f"{model}{hostile}"}},
        "test_reads": {
            **count_reads(folder / "none.jsonl"),
            "final": {"reads": configurations, "configurations": configurations},
        },
        "run": {"device": "cpu", "device_name": f"A processor{hostile}"},
    }
    write_json(folder / "test_final.json", final)
    rows = zip(before, after, strict=True)
    write_jsonl(
        folder / "test_generations.jsonl",
        (
            {
                "question": f"Question {first + number}?",
                "baseline_correct": one,
                "steered_correct": other,
            }
            for number, (one, other) in enumerate(rows)
        ),
    )
    write_json(folder / "provenance.json", {"seeds": {"data.seed": 0, "search.seed": seed}})
    write_text(folder / "report.html", "<!doctype html><title>A run</title>")
    write_text(folder / "benchmarks" / "search_0.tsv", "s\th:m:s\n90.5\t0:01:30\n")
    write_text(folder / "benchmarks" / "test_evaluation.tsv", "s\th:m:s\n-\t-\n")
    write_text(folder / "study" / "trials.csv", "number,new_tokens\n0,1000\n1,500\n2,\n")
    write_json(folder / "controls.json", {"controls": [{"mean_new_tokens": 10.0}]})
    if vector is not None:
        write_vector(
            folder / "vectors" / "caa" / f"layer_{layer}.safetensors",
            Vector("caa", layer, vector.astype(np.float32), 10.0),
            {},
        )
    return folder


def replicates(
    folder: Path, group: str, runs: list[dict[str, Any]], **table: str | int | float
) -> list[StudyRun]:
    """Finished runs of a group, named after it; what differs is in ``runs``."""
    made = []
    for seed, given in enumerate(runs):
        name = f"{group}-{seed}"
        write_finished(folder / name, seed=seed, **given)
        made.append(StudyRun(name, group, folder / name, {"search.seed": seed, **table}))
    return made


def write_failed(folder: Path, *, words: str = "ValueError: lost") -> Path:
    """A run whose search failed while another job went on."""
    write_json(folder / "splits" / "manifest.json", {})
    write_json(folder / "baseline" / "val.json", {"mean_new_tokens": 30.0, "total_samples": 10})
    stamp = "2026-01-02 03:04:05,678"
    write_text(
        folder / "logs" / "search_0.log",
        f"{stamp} INFO began\n{stamp} ERROR uncaught ValueError\nTraceback …\n{words}\n\n",
    )
    write_text(folder / "logs" / "vector_caa_9.log", f"{stamp} INFO made a vector\n")
    return folder
