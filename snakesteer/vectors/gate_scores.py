"""The thresholds of gates: quantiles of the scores of train texts.

A gate that decides token by token is asked at all positions of the train problems' own solutions
at which steering could act, from the last prompt token on; one that the prompt decides, at the
last tokens of their prompts. The few-shot examples are left out, and no other split is read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snakesteer.config import GateConfig, SettledGate
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel
from snakesteer.records.tensors import Array
from snakesteer.steering.build import gate_along
from snakesteer.steering.candidate import VectorKey
from snakesteer.steering.vector import AnyVector
from snakesteer.vectors.capture import capture_positions
from snakesteer.vectors.reads import Text


def find_thresholds(
    loaded: LoadedModel,
    prompter: Prompter,
    problems: Sequence[Problem],
    gates: Sequence[GateConfig],
    vectors: Mapping[VectorKey, AnyVector],
    progress: bool = False,
) -> list[dict[str, Any]]:
    """The thresholds of gates, with what they were made from.

    Args:
        loaded: The model.
        prompter: Builds the prompts.
        problems: Train problems that are no few-shot examples.
        gates: With settled layers.
        vectors: The gates' own.
        progress: Show a progress bar on the terminal.

    Returns:
        For each gate its keys, its name and threshold, and of how many scores it is a quantile.

    Raises:
        UserError: Scores that are not finite, or all alike.
    """
    records = []
    for when in ("prompt", "token"):
        members = [gate for gate in gates if gate.when == when]
        if not members:
            continue
        # What is compared with no threshold has none.
        asked = [
            gate_along(SettledGate(**gate.model_dump(), threshold=0.0), vectors) for gate in members
        ]
        texts = [_text(prompter, problem, when) for problem in problems]
        layers = sorted({gate.block for gate in members})
        found: list[list[Array]] = [[] for _ in members]
        for _, outputs in capture_positions(loaded, texts, layers, progress):
            for scores, gate in zip(found, asked, strict=True):
                scores.append(gate.scores(outputs[gate.layer]).numpy())
        records += [
            _record(gate, np.concatenate(scores))
            for gate, scores in zip(members, found, strict=True)
        ]
    return records


def _text(prompter: Prompter, problem: Problem, when: str) -> Text:
    if when == "prompt":
        ids = prompter.ids(problem.question)
        last = (len(ids) - 1, len(ids))
        return Text(ids, last, last)
    ids, before = prompter.with_response(problem.question, prompter.response(problem.answer))
    span = (max(min(before, len(ids) - 1) - 1, 0), len(ids))
    return Text(ids, span, span)


def _record(gate: GateConfig, scores: Array) -> dict[str, Any]:
    wide = scores.astype(np.float64)
    if not np.isfinite(wide).all() or wide.min() == wide.max():
        raise UserError(
            f"The gate {gate.name!r} cannot be given a threshold: its {len(wide)} scores on train "
            "are all alike, or not finite",
            "Let it look at another layer or direction (steering.gates), or set model.dtype: "
            "float32.",
        )
    return {
        "name": gate.name,
        **gate.model_dump(mode="json"),
        "threshold": float(np.quantile(wide, gate.quantile)),
        "scores": len(wide),
        "lowest": float(wide.min()),
        "highest": float(wide.max()),
    }
