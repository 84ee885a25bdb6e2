"""The evaluation of the chosen configuration on the test split, and what it may say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from snakesteer.config import EvaluationConfig, GenerationConfig, PairKind, PairsConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.errors import UserError
from snakesteer.evaluation.agreement import math_verify_agreement
from snakesteer.evaluation.answers import BY_TOKEN, Answer, answer_all
from snakesteer.evaluation.by_steps import by_steps
from snakesteer.evaluation.delivered import delivered_dose
from snakesteer.evaluation.ledger import Ledger
from snakesteer.evaluation.origins import compare_origins
from snakesteer.evaluation.paired import Samples, compare_paired, outcomes
from snakesteer.models.loading import LoadedModel
from snakesteer.records.files import read_json, read_jsonl
from snakesteer.records.library_causes import RESULT
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate, candidate_from_params
from snakesteer.steering.kinds import Steering
from snakesteer.steering.vector import read_vectors_of
from snakesteer.vectors.capture import capture, read_tokens
from snakesteer.vectors.pairs import make_pairs
from snakesteer.vectors.probe_fits import label_metrics
from snakesteer.vectors.probes import Probe, read_probe
from snakesteer.vectors.reads import texts_of_pairs
from snakesteer.vectors.token_means import TokenEffects, read_token_effects

_TOLD = ("text", "extracted", "correct", "strict", "flexible", "finish", "new_tokens")


@dataclass(frozen=True, eq=False)
class Best:
    """The chosen configuration with its vector and probe.

    Attributes:
        record: best_config.json.
        candidate: The configuration.
        steering: What the engine needs.
        probe: The probe of the chosen layer; of the first one where attention heads are steered.
        token_effects: What is taken off that probe's activations; None for nothing.
    """

    record: Mapping[str, Any]
    candidate: Candidate
    steering: Steering
    probe: Probe
    token_effects: TokenEffects | None = None


def read_best(
    path: str | Path,
    vectors: Sequence[str],
    probes: Sequence[str],
    token_effects: Sequence[str] = (),
) -> Best:
    """Read best_config.json with the vectors and the probe that it names.

    Args:
        path: best_config.json.
        vectors: All vector files, ``…/{direction}/layer_{L}.safetensors``, and those of attention
            heads, ``…/heads/{method}.safetensors``.
        probes: All probe files, ``…/layer_{L}.safetensors``.
        token_effects: Files of the same names, where probes were made without them.

    Raises:
        UserError: It holds no configuration.
    """
    record = read_json(path)
    try:
        candidate = candidate_from_params(record["best_trial_params"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not hold a configuration ({error!r})",
            RESULT.remedy,
        ) from error
    name = f"layer_{candidate.layer}.safetensors"
    steering = steering_of(candidate, read_vectors_of(candidate, vectors))
    if steering is None:
        raise UserError(
            f"{path} holds a configuration that does not steer",
            RESULT.remedy,
        )
    return Best(
        record=record,
        candidate=candidate,
        steering=steering,
        probe=read_probe(_ending(probes, name)),
        token_effects=read_token_effects(_ending(token_effects, name)) if token_effects else None,
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
    task: str,
    validation: Mapping[str, Any],
    validation_from: Literal["train", "test"],
    ledger: Ledger,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answer the test split with and without the best configuration.

    Args:
        loaded: The model.
        engine: Its engine.
        prompter: Builds the prompts.
        problems: The test split.
        best: The chosen configuration, its steering and the probe of its layer.
        generation: Limit and seed.
        pairs: Which of the pairs the probe is scored on.
        evaluation: Samples and statistics.
        task: What the problems are called in the results.
        validation: baseline/val.json.
        validation_from: Part of the source that the validation problems are from.
        ledger: Where this read of the test split is entered.

    Returns:
        The results (without config and engine), and the rows of test_generations.jsonl.
        ``shrinkage`` is the improvement on validation less that on test.
    """

    def answer(steering: Steering | None) -> list[list[Answer]]:
        return [
            answer_all(engine, prompter, problems, [steering], generation, sample)[0]
            for sample in range(evaluation.samples)
        ]

    baseline, steered = answer(None), answer(best.steering)
    params = best.record["best_trial_params"]
    configuration = ledger.configuration(prompter, generation, best.steering)
    reads = ledger.enter(
        "final", {configuration: ledger.words(params)}, problems, evaluation.samples
    )
    compared = compare_paired(baseline, steered, evaluation)
    for name, samples in (("baseline", baseline), ("steered", steered)):
        every = [answer for sample in samples for answer in sample]
        compared[f"{name}_benchmark_metrics"] |= {
            "task_name": task,
            "math_verify_agreement": math_verify_agreement(every, problems),
        }
    on_validation = best.record["best_validation_score"] - best.record["baseline_validation_score"]
    results = {
        "best_trial_params": params,
        "best_validation_score": best.record["best_validation_score"],
        "baseline_validation_score": best.record["baseline_validation_score"],
        "recommendation": best.record["recommendation"],
        "why": best.record["why"],
        **compared,
        "by_steps": by_steps(problems, baseline, steered),
        # The winner's curse: what won on validation won partly by chance.
        "shrinkage": on_validation - compared["accuracy_improvement"],
        **delivered_dose(best.candidate.dose, [answer for sample in steered for answer in sample]),
        "origins": compare_origins(
            validation_from,
            validation,
            compared["baseline_benchmark_metrics"],
            outcomes(baseline),
            evaluation.confidence,
        ),
        "test_probe_metrics": probe_on_test(loaded, prompter, problems, pairs, best),
        "num_test_samples": len(problems),
        "test_reads": reads,
    }
    return results, side_by_side_rows(prompter, problems, baseline, steered)


def side_by_side_rows(
    prompter: Prompter, problems: Sequence[Problem], baseline: Samples, steered: Samples
) -> list[dict[str, Any]]:
    """Rows of test_generations.jsonl: both texts side by side with all that was read from them.

    All problems of the first sample come first, then those of the second.
    """
    rows = []
    for sample, (befores, afters) in enumerate(zip(baseline, steered, strict=True)):
        for problem, before, after in zip(problems, befores, afters, strict=True):
            row: dict[str, Any] = {
                "id": problem.id,
                "sample": sample,
                "question": problem.question,
                "gold": problem.gold,
                "prompt": prompter.text(problem.question),
                "prompt_tokens": before.prompt_tokens,
            }
            for name, answer in (("baseline", before), ("steered", after)):
                for key in _TOLD:
                    row[f"{name}_{key}"] = getattr(answer, key)
            for key in BY_TOKEN:
                if getattr(after, key) is not None:
                    row[f"steered_{key}"] = getattr(after, key)
            rows.append(row)
    return rows


def read_generations(path: str | Path, name: str) -> list[list[Answer]]:
    """Answers from test_generations.jsonl, ``[samples][problems]``.

    Args:
        path: The file.
        name: ``baseline`` or ``steered``.

    Raises:
        UserError: The file is missing or damaged, or holds no answer.
    """
    samples: dict[int, list[Answer]] = {}
    for row in read_jsonl(path):
        try:
            told = {key: row[f"{name}_{key}"] for key in _TOLD}
            told |= {key: row.get(f"{name}_{key}") for key in BY_TOKEN}
            answer = Answer(id=row["id"], prompt_tokens=row["prompt_tokens"], **told)
            samples.setdefault(row["sample"], []).append(answer)
        except KeyError as error:
            raise UserError(
                f"{path} has a row without {error}",
                RESULT.remedy,
            ) from None
    if not samples:
        raise UserError(f"{path} holds no answer", RESULT.remedy)
    return list(samples.values())


def probe_on_test(
    loaded: LoadedModel,
    prompter: Prompter,
    problems: Sequence[Problem],
    config: PairsConfig,
    best: Best,
) -> dict[str, Any]:
    """How well the probe of the chosen layer tells right from wrong on test problems.

    It is scored on gold against corrupted solutions of the test problems, also where it was trained
    on the model's own solutions: those would have to be sampled on the test split. A probe of two
    instructions is scored on these.

    Returns:
        The number and kind of pairs, and where some can be read AUC, accuracy, precision, recall
        and F1.
    """
    kind: PairKind = "prompt_contrast" if config.kind == "prompt_contrast" else "gold_vs_corrupted"
    pairs = make_pairs(kind, problems, (), config.prompts, config.seed)
    found = texts_of_pairs(prompter, pairs, config.read)
    told = {"pairs": len(found), "pair_kind": kind}
    if not found:
        return told
    layer, texts = best.candidate.layer, [text for pair in found for text in pair.texts]
    outputs = np.zeros((len(texts), len(best.probe.weight)), dtype=np.float32)
    for batch, readings in capture(loaded, texts, [layer]):
        outputs[batch] = readings[layer].activation.numpy()
    if best.token_effects is not None:
        outputs[::2], outputs[1::2] = (
            outputs[side::2] - part
            for side, part in enumerate(best.token_effects.part(read_tokens(found), len(found)))
        )
    labels = np.tile([1, 0], len(found))
    return {**label_metrics(best.probe.scores(outputs), labels), **told}
