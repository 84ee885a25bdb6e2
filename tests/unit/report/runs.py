"""Files of runs as the workflow writes them, with results that are made up."""

import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snakesteer.config import Config
from snakesteer.config.params import leaves, nested
from snakesteer.data.problem import Problem
from snakesteer.data.splits import splits_manifest
from snakesteer.evaluation.answers import Answer, summary, write_answers
from snakesteer.evaluation.by_steps import by_steps
from snakesteer.evaluation.control_tests import controls_record
from snakesteer.evaluation.controls import Control
from snakesteer.evaluation.final import read_generations, side_by_side_rows
from snakesteer.evaluation.off_target import TextCost, answers_record, neutral_record
from snakesteer.evaluation.origins import compare_origins
from snakesteer.evaluation.paired import compare_paired
from snakesteer.evaluation.second_task import compare_outcomes
from snakesteer.evaluation.statistics import wilson
from snakesteer.records.files import read_json, sha256_text, write_json, write_jsonl, write_text
from snakesteer.records.tensors import write_tensors
from snakesteer.report.evidence import Evidence, read_evidence
from snakesteer.search.best import best_config
from snakesteer.search.selection import Rules
from snakesteer.vectors.estimate import Diagnostics
from tests.unit.report.studies import write_study

HOSTILE = "</script><img src=x onerror=\"window.hacked='yes'\"><!-- {{ 7 * 7 }} ${1} <b>"
VAL, TEST = 48, 100
LEDGER = {"ledger": "test_ledger/none.jsonl", "unreadable": 0}
READ = {"final": {"reads": 1, "configurations": 1}, **LEDGER}
NOT_YET = {"controls": {"reads": 0, "configurations": 0}}


@dataclass(frozen=True)
class RunFiles:
    """A results folder.

    Attributes:
        folder: Of the run.
        on_grid: Whether its report has the sensitivity grid.
    """

    folder: Path
    on_grid: bool = False

    def paths(self) -> dict[str, Any]:
        """What `read_evidence` takes."""
        results = self.folder
        paths = {
            "test": results / "test_final.json",
            "generations": results / "test_generations.jsonl",
            "best": results / "best_config.json",
            "baseline": results / "baseline" / "val.json",
            "trials": results / "study" / "trials.csv",
            "db": results / "study" / "study.db",
            "probes": sorted((results / "probes").glob("layer_*.json")),
            "vectors": sorted((results / "vectors").glob("*/layer_*.safetensors")),
            "model": results / "model" / "info.json",
            "manifest": results / "splits" / "manifest.json",
            "provenance": results / "provenance.json",
            "zero_steering": results / "checks" / "zero_steering.json",
            "controls": results / "controls.json",
        }
        return {**paths, "sensitivity": results / "sensitivity.csv" if self.on_grid else None}

    def evidence(self) -> Evidence:
        """What the report is made from."""
        return read_evidence(**self.paths())


class Asked:
    """Stands for a prompter."""

    def text(self, question: str) -> str:
        return f"Question: {question}\nAnswer:"


def write_run(
    folder: Path,
    *,
    trials: int = 30,
    gain: float = 0.0,
    hostile: str = "",
    methods: tuple[str, ...] = ("caa", "dac"),
    on_grid: bool = False,
    budget: float | None = None,
) -> RunFiles:
    """Write the files of a run.

    Args:
        folder: Of the run.
        trials: Of the search.
        gain: What the best dose adds to the accuracy; with 0 steering is not recommended.
        hostile: A text that every generation and name ends with.
        methods: That the search had.
        on_grid: Whether the report has the sensitivity grid.
        budget: Of the KL on neutral text, where the search has that objective, too.
    """
    rng = random.Random(0)
    layers = [9, 14, 20]
    config = Config.model_validate(
        {
            "results": str(folder.name),
            "steering": {"methods": list(methods), "layers": layers},
            "search": {
                "n_trials": trials,
                "one_standard_error": gain == 0.0,
                **(
                    {}
                    if budget is None
                    else {"objectives": ["accuracy", "kl"], "kl_budget": budget}
                ),
            },
        }
    )
    for layer in layers:
        auc = 0.5 + 0.3 * math.exp(-(((layer - 14) / 6) ** 2))
        metrics = {
            "layer": layer,
            "auc": auc,
            "accuracy": auc - 0.04,
            "precision": auc,
            "recall": auc,
        }
        write_json(folder / "probes" / f"layer_{layer}.json", {**metrics, "f1": auc})
        write_tensors(
            folder / "vectors" / "caa" / f"layer_{layer}.safetensors",
            {"raw": np.ones(4, np.float32)},
            {"direction": "caa", "layer": layer, **asdict(diagnostics(layer))},
        )
    val = problems("train", VAL)
    baseline = answers(val, [rng.random() < 0.45 for _ in val])
    write_answers(folder / "baseline" / "val.jsonl", baseline)
    floor = {"setting": "16 slots instead of 32", "texts_changed": 7, "gained": 1, "lost": 2}
    write_json(
        folder / "baseline" / "val.json",
        {**summary(baseline), "engine": "slots", "noise_floor": {**floor, "n": VAL}},
    )
    write_study(folder / "study", rng, layers, methods, trials, gain, baseline, hostile, budget)
    best = best_config(
        folder / "study" / "study.db",
        baseline,
        sorted((folder / "probes").glob("*.json")),
        seed=0,
        n_trials=trials,
        rules=Rules(one_standard_error=gain == 0.0, max_t=True, level=0.05, kl_budget=budget),
    )
    assert best["recommendation"] == ("steer" if gain > 0.1 else "leave alone")
    write_json(folder / "best_config.json", best)
    write_test(folder, config, best, summary(baseline), rng, gain, hostile)
    write_records(folder, config, val, hostile)
    write_zero_steering(folder)
    write_controls(folder, rng, hostile)
    write_off_target(folder, rng, hostile)
    if on_grid:
        write_sensitivity(folder, layers, methods, gain)
    return RunFiles(folder, on_grid)


def diagnostics(layer: int) -> Diagnostics:
    """Of a vector: that of layer 20 is noise, that of layer 14 is token identity."""
    warnings = {20: ("mostly noise: halves do not agree",), 14: ("mostly token identity: digits",)}
    cosine = {9: 0.6, 14: 0.7, 20: 0.1}[layer]
    return Diagnostics(
        pairs=60,
        mean_cosine=0.02,
        norm_ratio=0.2,
        dose_at_alpha_1=0.1,
        split_half_cosine=cosine,
        split_half_interval=(cosine - 0.3, cosine + 0.2),
        token_cosine=0.93 if layer == 14 else -0.05,
        token_share=0.85 if layer == 14 else 0.01,
        warnings=warnings.get(layer, ()),
    )


def problems(part: str, count: int, hostile: str = "") -> list[Problem]:
    """Problems that ask for their own number."""
    return [
        Problem(
            f"{part}-{number:05}",
            f"Ann has {number} pens and gets 1 more. How many pens has {part} now?{hostile}",
            f"{number} + 1 = {number + 1}\n#### {number + 1}",
            str(number + 1),
        )
        for number in range(count)
    ]


def answers(asked: list[Problem], correct: list[bool], hostile: str = "") -> list[Answer]:
    """Graded answers, right and wrong as told."""
    return [
        Answer(
            id=problem.id,
            correct=right,
            strict=right,
            flexible=right,
            extracted=problem.gold if right else str(int(problem.gold) + 7),
            text=f" Ann has {int(problem.gold) - 1} pens. She gets 1 more, so she has "
            f"{problem.gold if right else int(problem.gold) + 7} pens.\n#### "
            f"{problem.gold if right else int(problem.gold) + 7}{hostile}",
            finish="stop",
            prompt_tokens=120,
            new_tokens=30,
        )
        for problem, right in zip(asked, correct, strict=True)
    ]


def write_test(
    folder: Path,
    config: Config,
    best: dict[str, Any],
    validation: dict[str, Any],
    rng: random.Random,
    gain: float,
    hostile: str,
) -> None:
    """test_final.json and test_generations.jsonl."""
    asked = problems("test", TEST, hostile)
    before = [rng.random() < 0.45 for _ in asked]
    gained = [rng.random() < 2 * gain for _ in asked]
    after = [
        right if not gain else (right and number % 17 > 0) or won
        for number, (right, won) in enumerate(zip(before, gained, strict=True))
    ]
    one, other = answers(asked, before, hostile), answers(asked, after, hostile)
    compared = compare_paired([one], [other], config.evaluation)
    metrics, shares = compared["baseline_benchmark_metrics"], [float(right) for right in before]
    sections = {
        key: value
        for name in ("model", "prompt", "generation", "engine", "pairs", "evaluation")
        for key, value in leaves(name, getattr(config, name)).items()
    }
    compared = compare_paired([one], [other], config.evaluation)
    on_validation = best["best_validation_score"] - best["baseline_validation_score"]
    record = {
        "best_trial_params": best["best_trial_params"],
        "best_validation_score": best["best_validation_score"],
        "baseline_validation_score": best["baseline_validation_score"],
        "recommendation": best["recommendation"],
        "why": best["why"],
        **compared,
        "by_steps": by_steps(asked, [one], [other]),
        "shrinkage": on_validation - compared["accuracy_improvement"],
        "origins": compare_origins("train", validation, metrics, shares, 0.95),
        "test_probe_metrics": {
            **{"auc": 0.71, "accuracy": 0.66, "precision": 0.66, "recall": 0.7, "f1": 0.68},
            **{"pairs": TEST, "pair_kind": "gold_vs_corrupted"},
        },
        "num_test_samples": TEST,
        "test_reads": {**READ, **NOT_YET},
        "config": nested(sections),
        "run": {"engine": "slots", "slots": 32, "compiled": False, "shared_prefix_tokens": 90}
        | {"device": "cpu", "dtype": "bfloat16"},
    }
    write_json(folder / "test_final.json", record)
    write_jsonl(
        folder / "test_generations.jsonl", side_by_side_rows(Asked(), asked, [one], [other])
    )


def write_records(folder: Path, config: Config, val: list[Problem], hostile: str) -> None:
    """model/info.json, splits/manifest.json, provenance.json."""
    model = {
        **{
            "name": f"a model{hostile}",
            "revision": None,
            "commit": "c0ffee",
            "model_type": "llama",
        },
        **{"num_layers": 30, "hidden_size": 576, "context": 8192, "layers": [9, 14, 20]},
    }
    write_json(folder / "model" / "info.json", model)
    splits = {"train": problems("fit", 64), "val": val, "test": problems("test", TEST)}
    hashes = {name: sha256_text(name) for name in splits}
    write_json(
        folder / "splits" / "manifest.json", splits_manifest(splits, splits, ["test-99999"], hashes)
    )
    write_json(
        folder / "provenance.json",
        {
            "created": "2026-01-02T03:04:05+00:00",
            "config": config.model_dump(mode="json"),
            "git": {"commit": "0123456789abcdef", "dirty": True, "diff_sha256": "ab" * 32},
            "versions": {"python": "3.11.7", "torch": "2.13.0", "optuna": "5.0.0"},
            "machine": {
                **{"platform": "Linux", "processor": "A processor", "cores": 2},
                **{"memory_bytes": 8 * 2**30, "gpu": {"name": "A GPU", "memory_bytes": 2**36}},
            },
            "model": model,
            "run": {"engine": "slots", "slots": 32, "device": "cpu", "dtype": "bfloat16"},
            "seeds": {"data.seed": 0, "search.seed": 0},
            "sha256": {str(Path("results") / "test_final.json"): "cd" * 32},
        },
    )


def write_zero_steering(folder: Path) -> None:
    """checks/zero_steering.json."""
    write_json(
        folder / "checks" / "zero_steering.json",
        {
            **{"passed": True, "engine": "slots", "dtype": "bfloat16", "slots": 32, "prompts": 32},
            "kinds": {
                "no steering": {
                    **{"tokens_equal": True, "max_logit_difference": 0.0},
                    "plain_model": {"error": 0.016, "bound": 0.05},
                },
                "caa": {
                    **{"tokens_equal": True, "max_logit_difference": 0.0, "places_steered": 7},
                    **{"places_left_alone": 90, "max_error_in_roundings": 0.5},
                    "plain_model": {"error": 0.018, "bound": 0.06},
                },
            },
        },
    )


def write_controls(folder: Path, rng: random.Random, hostile: str) -> None:
    """controls.json: one of every kind, five of those that are drawn."""
    before, after = (
        read_generations(folder / "test_generations.jsonl", name)
        for name in ("baseline", "steered")
    )
    arms = [(f"random direction {number}", "random") for number in range(1, 6)]
    arms += [(f"shuffled labels {number}", "shuffled") for number in range(1, 6)]
    arms += [("the opposite direction", "negative")]
    arms += [(f"no steering, told: Think.{hostile}", "prompt")]
    controls = [
        Control(f"{kind}_{number}", label, kind, None) for number, (label, kind) in enumerate(arms)
    ]
    answered = []
    for control in controls:
        change = 0.25 if control.kind == "negative" else 0.06
        outcomes = [
            answer.correct != (rng.random() < (change if answer.correct else change / 4))
            for answer in before[0]
        ]
        answered.append([answers(problems("test", TEST), outcomes)])
    record = controls_record(before, after, controls, answered, Config().evaluation)
    reads = {**READ, "controls": {"reads": len(controls), "configurations": len(controls)}}
    write_json(folder / "controls.json", {**record, "test_reads": reads})


def write_off_target(folder: Path, rng: random.Random, hostile: str) -> None:
    """Part of test_final.json: a small cost on neutral text, and nothing on another task."""
    evaluation = Config().evaluation
    costs = [
        TextCost(30, rng.uniform(0.01, 0.03), nll, nll + rng.uniform(0.0, 0.02), 0.1, None)
        for nll in (rng.uniform(2.5, 3.5) for _ in range(40))
    ]
    before, after = (
        read_generations(folder / "test_generations.jsonl", name)
        for name in ("baseline", "steered")
    )
    right = [rng.random() < 0.6 for _ in range(50)]
    record = {
        "neutral": neutral_record(costs, evaluation),
        "test_answers": answers_record(before, after, evaluation),
        "second_task": {
            **{"file": f"tasks/facts{hostile}.jsonl", "scored_by": "likelihood of the choices"},
            **compare_outcomes(right, [*right[:-1], not right[-1]], evaluation),
        },
        "confidence": evaluation.confidence,
    }
    final = read_json(folder / "test_final.json")
    write_json(folder / "test_final.json", {**final, "off_target": record})


def write_sensitivity(
    folder: Path, layers: list[int], methods: tuple[str, ...], gain: float
) -> None:
    """sensitivity.csv."""
    columns = ("method", "direction", "layer", "alpha", "dose", "n", "correct", "accuracy")
    more = ("low", "high", "mean_new_tokens", "invalid_rate", "truncated_rate", "repetition_rate")
    lines = [",".join(columns + more)]
    for method in methods:
        for layer in layers:
            for dose in (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2):
                middle = 0.1 if gain else 0.0
                accuracy = 0.45 + gain - (1 + layer / 30) * abs(dose - middle)
                if dose == 0.0:
                    accuracy = 0.45
                correct = max(0, round(accuracy * VAL))
                low, high = wilson(correct, VAL, 0.95)
                cells = (method, "caa", layer, 12.5 * dose, dose, VAL, correct, correct / VAL)
                cells += (low, high, 30.0 + 100 * abs(dose), abs(dose), dose * dose, 0.0)
                lines.append(",".join(map(str, cells)))
    write_text(folder / "sensitivity.csv", "\n".join(lines) + "\n")
