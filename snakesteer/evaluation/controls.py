"""Would anything of this size have done the same? Controls for the chosen configuration, on test.

A random direction, the vector of shuffled labels and −v are added where, when and as strongly as
the chosen vector; an instruction in the prompt shows what words alone do. None of them should help
if it is the direction that helps.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from statsmodels.stats.multitest import multipletests
from torch import Tensor

from snakesteer.config import EvaluationConfig, GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.evaluation.answers import Answer, answer_all
from snakesteer.evaluation.ledger import Ledger
from snakesteer.evaluation.paired import Samples, compare_paired
from snakesteer.evaluation.statistics import Interval, verdict
from snakesteer.steering.kinds import Steering
from snakesteer.steering.residual import VectorChange
from snakesteer.vectors.activations import Activations, read_activations

logger = logging.getLogger(__name__)

ControlKind = Literal["steered", "random", "shuffled", "negative", "prompt"]


@dataclass(frozen=True, eq=False)
class Control:
    """One control.

    Attributes:
        name: Short, unique.
        label: For a reader.
        kind: What it controls for.
        steering: How it is steered; None leaves the model alone.
        instruction: What is put in front of the prompt, if anything.
    """

    name: str
    label: str
    kind: ControlKind
    steering: Steering | None
    instruction: str | None = None


def evaluate_controls(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    steering: Steering,
    activation_files: Sequence[str | Path],
    baseline: Samples,
    steered: Samples,
    generation: GenerationConfig,
    evaluation: EvaluationConfig,
    ledger: Ledger,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answer the test split under all controls and compare them with the unsteered answers.

    Args:
        engine: Set up as it was for the unsteered answers.
        prompter: Builds the prompts.
        problems: The test split.
        steering: The chosen configuration.
        activation_files: Of the train pairs, those of all steered layers among them.
        baseline: Unsteered test answers, ``[samples][problems]``.
        steered: Those of the chosen configuration.
        generation: Limit and seed.
        evaluation: Which controls, and the statistics.
        ledger: Where these reads of the test split are entered, one a control.

    Returns:
        The content of controls.json without the run, and the rows of control_generations.jsonl.
    """
    activations = {
        int(found.attributes["layer"]): found for found in map(read_activations, activation_files)
    }
    controls = make_controls(steering, activations, evaluation)
    answers = answer_controls(engine, prompter, problems, controls, generation, evaluation.samples)
    chosen = ledger.configuration(prompter, generation, steering)
    configurations = {}
    for control in controls:
        belongs = {"name": control.name, "kind": control.kind, "of": chosen}
        asked = _asked(prompter, control.instruction)
        key = ledger.configuration(asked, generation, control.steering, belongs)
        configurations[key] = f"{control.label}, a control of {chosen[:12]}"
    reads = ledger.enter("controls", configurations, problems, evaluation.samples)
    record = controls_record(baseline, steered, controls, answers, evaluation)
    return {**record, "test_reads": reads}, control_rows(controls, answers)


def _asked(prompter: Prompter, instruction: str | None) -> Prompter:
    return prompter if instruction is None else prompter.instructed(instruction)


def make_controls(
    steering: Steering, activations: Mapping[int, Activations], evaluation: EvaluationConfig
) -> list[Control]:
    """All controls of a configuration.

    Heads and ActAdd have no vector of shuffled labels: those of heads are not made from activations
    of blocks, and ActAdd's are made from one pair.

    Args:
        steering: The chosen configuration.
        activations: Of the train pairs, by layer; those of all steered layers.
        evaluation: Number of random directions, the instruction, and the seed.
    """
    seed, instruction = evaluation.seed, evaluation.prompt_control
    controls = [
        Control(
            f"random_{number}",
            f"random direction {number}",
            "random",
            steering.with_vectors(random_like(seed, number)),
        )
        for number in range(1, evaluation.random_controls + 1)
    ]
    if steering.kind == "residual":
        shuffled = steering.with_vectors(shuffled_labels(activations, seed))
        controls.append(Control("shuffled", "vector of shuffled labels", "shuffled", shuffled))
    opposite = steering.with_vectors(lambda vector, layer: -vector)
    return [
        *controls,
        Control("negative", "the opposite direction", "negative", opposite),
        Control("prompt", f"no steering, told: {instruction}", "prompt", None, instruction),
    ]


def random_like(seed: int, number: int) -> VectorChange:
    """Directions drawn evenly from all directions, as long as the vector that they replace.

    Steps that have vectors of their own share a direction. What is 0 in the vector (heads that are
    not steered) stays 0.

    Args:
        seed: Of the draws.
        number: Of the control; another number is another direction.
    """

    def change(vector: Tensor, layer: int) -> Tensor:
        noise = np.random.default_rng((seed, number, layer)).normal(size=vector.shape[-1])
        return _as_long(torch.from_numpy(noise) * (vector != 0.0), vector)

    return change


def shuffled_labels(activations: Mapping[int, Activations], seed: int) -> VectorChange:
    """Mean differences of pairs whose right and wrong sides are swapped at random, rescaled.

    The same pairs are swapped at all layers.

    Args:
        activations: Of the train pairs, by layer.
        seed: Of the swaps.
    """

    def change(vector: Tensor, layer: int) -> Tensor:
        found = activations[layer]
        differences = found.positive.astype(np.float64) - found.negative  # [pairs, hidden]
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=len(differences))
        return _as_long(torch.from_numpy(signs @ differences), vector)

    return change


def _as_long(direction: Tensor, vector: Tensor) -> Tensor:
    """Directions ``[..., width]`` at the lengths of vectors of that shape, float32."""
    wanted, length = (x.double().norm(dim=-1, keepdim=True) for x in (vector, direction))
    return torch.where(length > 0.0, direction * (wanted / length), 0.0).float()


def answer_controls(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    controls: Sequence[Control],
    generation: GenerationConfig,
    samples: int,
) -> list[list[list[Answer]]]:
    """Answer the test split under every control.

    All steered controls share one call of the engine per sample; prompts that start otherwise get
    calls of their own, so that the others are computed as the baseline was.

    Returns:
        ``[controls][samples][problems]``.
    """
    answers: list[list[list[Answer]]] = [[] for _ in controls]
    for instruction in dict.fromkeys(control.instruction for control in controls):
        members = [i for i, control in enumerate(controls) if control.instruction == instruction]
        asked = _asked(prompter, instruction)
        steerings = [controls[i].steering for i in members]
        for sample in range(samples):
            found = answer_all(engine, asked, problems, steerings, generation, sample)
            for i, given in zip(members, found, strict=True):
                answers[i].append(given)
    return answers


def controls_record(
    baseline: Samples,
    steered: Samples,
    controls: Sequence[Control],
    answers: Sequence[Samples],
    evaluation: EvaluationConfig,
) -> dict[str, Any]:
    """The content of controls.json: the chosen configuration and its controls against the baseline.

    ``p_holm`` of a control is its p-value adjusted for the number of controls (Holm 1979, "A Simple
    Sequentially Rejective Multiple Test Procedure"), and its verdict follows from that.

    Args:
        baseline: Unsteered test answers, ``[samples][problems]``.
        steered: Those of the chosen configuration.
        controls: The controls.
        answers: Their answers.
        evaluation: Confidence, resamples, seed.
    """
    chosen = _entry("chosen", "the chosen configuration", "steered", baseline, steered, evaluation)
    entries = [
        _entry(control.name, control.label, control.kind, baseline, given, evaluation)
        for control, given in zip(controls, answers, strict=True)
    ]
    adjusted = multipletests([e["mcnemar"]["p_value"] for e in entries], method="holm")[1]
    for entry, p_value in zip(entries, adjusted, strict=True):
        difference = Interval(entry["difference"], *entry["difference_ci"])
        entry["p_holm"] = float(p_value)
        entry["verdict"] = verdict(
            difference, entry["p_holm"], len(baseline[0]), evaluation.confidence
        )
    random = [entry["accuracy"] for entry in entries if entry["kind"] == "random"]
    return {
        "chosen": chosen,
        "controls": entries,
        "random_directions": {
            "mean": float(np.mean(random)),
            "best": max(random),
            "worst": min(random),
            "below_chosen": sum(accuracy < chosen["accuracy"] for accuracy in random),
            "count": len(random),
        },
        "reason": None,
    }


def nothing_to_control() -> dict[str, Any]:
    """controls.json where the best configuration is no steering."""
    return {
        "chosen": None,
        "controls": [],
        "random_directions": None,
        "reason": "The best configuration is no steering: there is nothing to control.",
    }


def _entry(
    name: str,
    label: str,
    kind: ControlKind,
    baseline: Samples,
    answers: Samples,
    evaluation: EvaluationConfig,
) -> dict[str, Any]:
    found = compare_paired(baseline, answers, evaluation)
    metrics = found["steered_benchmark_metrics"]
    rates = ("invalid_rate", "truncated_rate", "mean_new_tokens", "repetition_rate")
    return {
        "name": name,
        "label": label,
        "kind": kind,
        "accuracy": metrics["accuracy"],
        "accuracy_ci": metrics["accuracy_ci"],
        "difference": found["accuracy_improvement"],
        "difference_ci": found["accuracy_improvement_ci"],
        "mcnemar": found["mcnemar"],
        "test": found["test"],
        "verdict": found["verdict"],
        **{rate: metrics[rate] for rate in rates},
    }


def control_rows(controls: Sequence[Control], answers: Sequence[Samples]) -> list[dict[str, Any]]:
    """Rows of control_generations.jsonl, in the order of controls, samples and problems."""
    return [
        {"control": control.name, "sample": number, **asdict(answer)}
        for control, samples in zip(controls, answers, strict=True)
        for number, sample in enumerate(samples)
        for answer in sample
    ]


def log_controls(record: Mapping[str, Any]) -> None:
    """Say in words where the chosen configuration lies among its controls."""
    if record["reason"]:
        logger.info(record["reason"])
        return
    random = record["random_directions"]
    logger.info(
        "steered %.1f%%, above %d of %d random directions (%.1f%% to %.1f%%, mean %.1f%%)",
        100 * record["chosen"]["accuracy"],
        random["below_chosen"],
        random["count"],
        100 * random["worst"],
        100 * random["best"],
        100 * random["mean"],
    )
    for entry in (record["chosen"], *record["controls"]):
        logger.info(
            "%s: %+.1f points, %s", entry["label"], 100 * entry["difference"], entry["verdict"]
        )
