"""The one evaluation on the test split, and what it may say."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snakesteer.activations import capture, texts_of_pairs
from snakesteer.config import EvaluationConfig, GenerationConfig, PairsConfig
from snakesteer.data.problem import Problem
from snakesteer.engine.interface import Engine
from snakesteer.errors import UserError
from snakesteer.evaluation import Answer, answer_all, summary
from snakesteer.files import read_json
from snakesteer.models.loading import LoadedModel
from snakesteer.pairs import gold_vs_corrupted
from snakesteer.probes import Probe, label_metrics, read_probe
from snakesteer.prompts import Prompter
from snakesteer.search.space import Candidate, candidate_from_params
from snakesteer.statistics import mcnemar_exact, paired_bootstrap, verdict, wilson
from snakesteer.steering import Steering
from snakesteer.vectors import read_vector


@dataclass(frozen=True, eq=False)
class Best:
    """The chosen configuration with its vector and probe.

    Attributes:
        record: best_config.json.
        candidate: The configuration.
        steering: What the engine needs; None for no steering.
        probe: The probe of the chosen layer.
    """

    record: Mapping[str, Any]
    candidate: Candidate
    steering: Steering | None
    probe: Probe


def read_best(path: str | Path, vectors: Sequence[str], probes: Sequence[str]) -> Best:
    """Read best_config.json with the vector and the probe that it names.

    Args:
        path: best_config.json.
        vectors: All vector files, ``…/{direction}/layer_{L}.safetensors``.
        probes: All probe files, ``…/layer_{L}.safetensors``.

    Raises:
        UserError: It holds no configuration.
    """
    record = read_json(path)
    try:
        candidate = candidate_from_params(record["best_trial_params"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not hold a configuration ({error!r})",
            "Delete it and run snakemake again; it will be made anew.",
        ) from error
    name = f"layer_{candidate.layer}.safetensors"
    vector = read_vector(_ending(vectors, candidate.direction, name))
    return Best(
        record=record,
        candidate=candidate,
        steering=candidate.steering({(candidate.direction, candidate.layer): vector}),
        probe=read_probe(_ending(probes, name)),
    )


def _ending(files: Sequence[str], *parts: str) -> str:
    """The one file whose path ends in these parts."""
    return next(file for file in files if Path(file).parts[-len(parts) :] == parts)


def evaluate_test(
    loaded: LoadedModel,
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    best: Best,
    generation: GenerationConfig,
    pairs: PairsConfig,
    evaluation: EvaluationConfig,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answer the test split with and without the best configuration.

    Returns:
        The results (without config and engine), and the rows of test_generations.jsonl. Where the
        best configuration is no steering, the unsteered answers stand for both.
    """
    baseline = answer_all(engine, prompter, problems, [None], generation)[0]
    steered = baseline
    if best.steering is not None:
        steered = answer_all(engine, prompter, problems, [best.steering], generation)[0]
    results = {
        "best_trial_params": best.record["best_trial_params"],
        "best_validation_score": best.record["best_validation_score"],
        "baseline_validation_score": best.record["baseline_validation_score"],
        "why": best.record["why"],
        **compare(baseline, steered, evaluation),
        "test_probe_metrics": probe_on_test(
            loaded, prompter, problems, pairs, best.candidate.layer, best.probe
        ),
        "num_test_samples": len(problems),
    }
    return results, generation_rows(prompter, problems, baseline, steered)


def compare(
    baseline: Sequence[Answer], steered: Sequence[Answer], evaluation: EvaluationConfig
) -> dict[str, Any]:
    """Paired comparison of two evaluations of the same problems.

    Returns:
        Both summaries with Wilson intervals, the difference with its paired bootstrap interval, the
        exact McNemar test, and the verdict in words.
    """
    before = [answer.correct for answer in baseline]
    after = [answer.correct for answer in steered]
    interval = paired_bootstrap(
        before, after, evaluation.bootstrap_resamples, evaluation.confidence, evaluation.seed
    )
    test = mcnemar_exact(before, after)
    return {
        "baseline_benchmark_metrics": _metrics(baseline, evaluation.confidence),
        "steered_benchmark_metrics": _metrics(steered, evaluation.confidence),
        "accuracy_improvement": interval.estimate,
        "accuracy_improvement_ci": [interval.low, interval.high],
        "confidence": evaluation.confidence,
        "mcnemar": asdict(test),
        "verdict": verdict(interval, test.p_value, len(baseline), evaluation.confidence),
    }


def _metrics(answers: Sequence[Answer], confidence: float) -> dict[str, Any]:
    found = summary(answers)
    low, high = wilson(int(found["correct"]), int(found["total_samples"]), confidence)
    return {
        **found,
        "accuracy_ci": [low, high],
        "evaluation_method": "numeric match of the final answer",
        "task_name": "gsm8k",
    }


def generation_rows(
    prompter: Prompter,
    problems: Sequence[Problem],
    baseline: Sequence[Answer],
    steered: Sequence[Answer],
) -> list[dict[str, Any]]:
    """Rows of test_generations.jsonl: both texts side by side with all that was read from them."""
    rows = []
    for problem, before, after in zip(problems, baseline, steered, strict=True):
        row: dict[str, Any] = {
            "id": problem.id,
            "question": problem.question,
            "gold": problem.gold,
            "prompt": prompter.text(problem.question),
            "prompt_tokens": before.prompt_tokens,
        }
        for name, answer in (("baseline", before), ("steered", after)):
            values = asdict(answer)
            for key in ("text", "extracted", "correct", "strict", "flexible", "finish"):
                row[f"{name}_{key}"] = values[key]
            row[f"{name}_new_tokens"] = answer.new_tokens
        rows.append(row)
    return rows


def probe_on_test(
    loaded: LoadedModel,
    prompter: Prompter,
    problems: Sequence[Problem],
    config: PairsConfig,
    layer: int,
    probe: Probe,
) -> dict[str, Any]:
    """How well the probe of the chosen layer tells right from wrong on test problems.

    It is scored on gold against corrupted solutions of the test problems, also where it was trained
    on the model's own solutions: those would have to be sampled on the test split.

    Returns:
        AUC, accuracy, precision, recall, F1, and the number and kind of pairs.
    """
    pairs = gold_vs_corrupted(problems, config.seed)
    texts = [text for pair in texts_of_pairs(prompter, pairs, config.read) for text in pair]
    scores = np.zeros(len(texts), dtype=np.float32)
    for batch, found in capture(loaded, texts, [layer]):
        scores[batch] = probe.scores(found[layer][0].numpy())
    labels = np.tile([1, 0], len(pairs))
    return {**label_metrics(scores, labels), "pairs": len(pairs), "pair_kind": "gold_vs_corrupted"}
