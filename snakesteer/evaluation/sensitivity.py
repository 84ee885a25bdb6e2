"""How accuracy on validation depends on strength, layer by layer and method by method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from snakesteer.config import GenerationConfig, SensitivityConfig, SteeringConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.evaluation.answers import Answer, answer_all, summary
from snakesteer.evaluation.statistics import wilson
from snakesteer.records.files import atomic_path
from snakesteer.steering.bands import band_starts
from snakesteer.steering.build import steering_of
from snakesteer.steering.candidate import Candidate, VectorKey
from snakesteer.steering.kl_unit import KlCurves
from snakesteer.steering.methods.base import strength_name
from snakesteer.steering.space import suggest
from snakesteer.steering.trials import GivenTrial
from snakesteer.steering.vector import AnyVector

RATES = ("mean_new_tokens", "invalid_rate", "truncated_rate", "repetition_rate")


def strength_grid(
    sensitivity: SensitivityConfig,
    steering: SteeringConfig,
    layers: Sequence[int],
    vectors: Mapping[VectorKey, AnyVector],
    curves: KlCurves | None = None,
) -> list[Candidate]:
    """Every method, direction and layer at every strength, 0 among them.

    What else a method has (DAC's parameters) is at the middle of its range.

    Args:
        sensitivity: Methods and strengths.
        steering: Directions, the unit of strengths, ranges.
        layers: Layers to steer.
        vectors: All vectors.
        curves: Of strengths in nats, where these are the unit.
    """
    return [
        suggest(
            GivenTrial(
                {
                    "steering_method": method,
                    "steering_direction": direction,
                    "layer_id": layer,
                    strength_name(steering): strength,
                }
            ),
            steering,
            layers,
            vectors,
            curves,
        )
        for method in sensitivity.methods
        for direction in steering.directions
        for layer in band_starts(layers, steering.band)
        for strength in sorted([0.0, *sensitivity.strengths])
    ]


def sensitivity_rows(
    engine: Engine,
    prompter: Prompter,
    problems: Sequence[Problem],
    candidates: Sequence[Candidate],
    vectors: Mapping[VectorKey, AnyVector],
    baseline: Sequence[Answer],
    generation: GenerationConfig,
    chunk_size: int,
    confidence: float,
) -> list[dict[str, Any]]:
    """Answer the validation split under all configurations.

    They are asked in the chunks of the search, so that they compare with the baseline. Strength 0
    is the baseline, which is not answered again.

    Args:
        engine: Answers.
        prompter: Builds the prompts.
        problems: The validation split.
        candidates: From `strength_grid`.
        vectors: All vectors.
        baseline: Unsteered answers to the validation split.
        generation: Limit and seed.
        chunk_size: Problems that are asked together.
        confidence: Of the intervals.

    Returns:
        A row of sensitivity.csv for every configuration.
    """
    steered = [i for i, candidate in enumerate(candidates) if candidate.alpha != 0.0]
    steerings = [steering_of(candidates[i], vectors) for i in steered]
    found = answer_all(engine, prompter, problems, steerings, generation, chunk_size=chunk_size)
    answers = dict(zip(steered, found, strict=True))
    return [
        _row(candidate, answers.get(i, baseline), confidence)
        for i, candidate in enumerate(candidates)
    ]


def _row(candidate: Candidate, answers: Sequence[Answer], confidence: float) -> dict[str, Any]:
    found = summary(answers)
    low, high = wilson(int(found["correct"]), len(answers), confidence)
    return {
        "method": candidate.method,
        "direction": candidate.direction,
        "layer": candidate.layer,
        "alpha": candidate.alpha,
        "dose": candidate.dose,
        "n": len(answers),
        "correct": found["correct"],
        "accuracy": found["accuracy"],
        "low": low,
        "high": high,
        **{rate: found[rate] for rate in RATES},
    }


def write_sensitivity(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write sensitivity.csv, atomically."""
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
