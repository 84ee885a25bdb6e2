"""Would anything of this size have done the same? Controls for the chosen configuration, on test.

Random directions, vectors of shuffled labels and −v are added where and as strongly as the chosen
vector; an instruction in the prompt shows what words alone do. None of them should help if it is
the direction that helps. `snakesteer.evaluation.control_tests` compares them.

Ablation is the same for v and −v, whose component is one and the same. The opposite of removing it
is to strengthen it, so that −α takes the place of −v.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snakesteer.config import EvaluationConfig, GenerationConfig
from snakesteer.data.problem import Problem
from snakesteer.data.prompts import Prompter
from snakesteer.engine.interface import Engine
from snakesteer.evaluation.answers import Answer, answer_all, answer_row
from snakesteer.evaluation.control_kinds import ControlKind
from snakesteer.evaluation.ledger import Ledger
from snakesteer.evaluation.paired import Samples
from snakesteer.steering.kinds import Steering
from snakesteer.steering.prompt_start import PromptStartSteering
from snakesteer.steering.residual import ResidualSteering, VectorChange
from snakesteer.vectors.activations import Activations, read_activations

logger = logging.getLogger(__name__)


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


def make_controls(
    steering: Steering,
    mean_alpha_t: float | None,
    activation_files: Sequence[str | Path],
    evaluation: EvaluationConfig,
) -> list[Control]:
    """All controls of a configuration.

    Heads and ActAdd have no vector of shuffled labels: those of heads are not made from activations
    of blocks, and ActAdd's are made from one pair.

    Args:
        steering: The tested configuration.
        mean_alpha_t: Of its test answers, where its strength is dynamic: its controls then add as
            much at every token as it did on average. An α_t of their own would make another dose.
        activation_files: Of the train pairs, those of all steered layers among them.
        evaluation: Number of random directions, the instruction, and the seed.
    """
    seed, instruction = evaluation.seed, evaluation.prompt_control
    if mean_alpha_t is not None:
        assert not isinstance(steering, PromptStartSteering)  # it has no dynamic strength
        steering = steering.at_constant(mean_alpha_t)
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
        found = map(read_activations, activation_files)
        activations = {int(one.attributes["layer"]): one for one in found}
        controls += [
            Control(
                f"shuffled_{number}",
                f"shuffled labels {number}",
                "shuffled",
                steering.with_vectors(shuffled_labels(activations, seed, number)),
            )
            for number in range(1, evaluation.shuffled_controls + 1)
        ]
    return [
        *controls,
        _opposite(steering),
        Control("prompt", f"no steering, told: {instruction}", "prompt", None, instruction),
    ]


def _opposite(steering: Steering) -> Control:
    """−v; for ablation −α."""
    if not isinstance(steering, ResidualSteering):
        turned: Steering = steering.with_vectors(lambda vector, layer: -vector)
        return Control("negative", "the opposite direction", "negative", turned)
    grown = all(part.operator == "ablate" for part in steering.parts)
    label = "the opposite strength" if grown else "the opposite direction"
    return Control("negative", label, "negative", steering.with_parts(_turned_round))


def _turned_round(part: ResidualSteering) -> ResidualSteering:
    if part.operator != "ablate":
        return part.with_vectors(lambda vector, layer: -vector)
    more = tuple(replace(place, alpha=-place.alpha) for place in part.more)
    return replace(part, alpha=-part.alpha, more=more)


def random_like(seed: int, number: int) -> VectorChange:
    """Directions drawn evenly from all directions, as long as the vector that they replace.

    Steps that have vectors of their own share a direction; of several vectors at one layer, each
    gets another one. What is 0 in the vector (heads that are not steered) stays 0.

    Args:
        seed: Of the draws.
        number: Of the control; another number is another direction.
    """
    drawn: Counter[int] = Counter()

    def change(vector: Tensor, layer: int) -> Tensor:
        again = [drawn[layer]] if drawn[layer] else []
        drawn[layer] += 1
        noise = np.random.default_rng((seed, number, layer, *again)).normal(size=vector.shape[-1])
        return _as_long(torch.from_numpy(noise) * (vector != 0.0), vector)

    return change


def shuffled_labels(activations: Mapping[int, Activations], seed: int, number: int) -> VectorChange:
    """Mean differences of pairs whose right and wrong sides are swapped at random, rescaled.

    Half of the pairs are swapped, so that what they agree on cancels; the same ones at all layers.

    Args:
        activations: Of the train pairs, by layer.
        seed: Of the swaps.
        number: Of the control; another number is another draw.
    """

    def change(vector: Tensor, layer: int) -> Tensor:
        found = activations[layer]
        differences = found.positive.astype(np.float64) - found.negative  # [pairs, hidden]
        signs = np.random.default_rng((seed, number)).permutation(
            np.resize((1.0, -1.0), len(differences))
        )
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


def enter_controls(
    ledger: Ledger,
    prompter: Prompter,
    problems: Sequence[Problem],
    tested: Steering,
    controls: Sequence[Control],
    generation: GenerationConfig,
    samples: int,
) -> dict[str, Any]:
    """Enter the answered controls into the ledger of test reads, one read each.

    Args:
        ledger: The ledger.
        prompter: Builds the prompts.
        problems: The test split.
        tested: The configuration that they control.
        controls: The controls.
        generation: Limit and seed.
        samples: Answers to each problem.

    Returns:
        How often the split has been read by now.
    """
    key = ledger.configuration(prompter, generation, tested)
    configurations = {}
    for control in controls:
        belongs = {"name": control.name, "kind": control.kind, "of": key}
        asked = _asked(prompter, control.instruction)
        own = ledger.configuration(asked, generation, control.steering, belongs)
        configurations[own] = f"{control.label}, a control of {key[:12]}"
    return ledger.enter("controls", configurations, problems, samples)


def control_rows(controls: Sequence[Control], answers: Sequence[Samples]) -> list[dict[str, Any]]:
    """Rows of control_generations.jsonl, in the order of controls, samples and problems."""
    return [
        {"control": control.name, "sample": number, **answer_row(answer)}
        for control, samples in zip(controls, answers, strict=True)
        for number, sample in enumerate(samples)
        for answer in sample
    ]


def _asked(prompter: Prompter, instruction: str | None) -> Prompter:
    return prompter if instruction is None else prompter.instructed(instruction)
