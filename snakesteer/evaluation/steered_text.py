"""Steered text by hand: a model, a vector and a dose, without the workflow.

model = model_of("results")
vector = read_vector("results/vectors/caa/layer_15.safetensors")
print(generate(model, ["Two and three are"], steer(vector, dose=0.1))[0])
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from snakesteer.config import Scope
from snakesteer.config.load import load_config
from snakesteer.config.scopes import SCOPES_WITH_KEYS
from snakesteer.data.prompts import common_prefix
from snakesteer.engine.interface import Decoding, Request
from snakesteer.engine.reference.engine import ReferenceEngine
from snakesteer.errors import UserError
from snakesteer.models import loading
from snakesteer.models.gguf import with_copy
from snakesteer.models.loading import LoadedModel
from snakesteer.records.files import read_json
from snakesteer.steering.positions import Positions
from snakesteer.steering.residual import ResidualSteering
from snakesteer.steering.vector import Vector, read_vector
from snakesteer.vectors.training.lessons import Example, Lesson, split_lessons
from snakesteer.vectors.training.loop import train, trained_vectors
from snakesteer.vectors.training.objectives import likelihood

__all__ = ["generate", "load_model", "model_of", "read_vector", "steer", "train_vector"]

BATCH_SIZE = 16


def load_model(name: str, **keys: Any) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        name: Hub id, or folder with a saved model.
        keys: Of the config section ``model``: ``dtype="bfloat16"``, ``device="cpu"``, ….

    Raises:
        UserError: Keys that the config refuses, or a model that cannot be read.
    """
    return loading.load_causal_lm(with_copy(load_config({"model": {"name": name, **keys}}).model))


def model_of(results: str | Path) -> LoadedModel:
    """Load the model of a finished run, at the same commit and with the same settings.

    Args:
        results: The results folder. A relative model folder is looked for where Python runs.

    Raises:
        UserError: The run is not finished, or the model cannot be read.
    """
    record = read_json(Path(results) / "provenance.json")
    found = record["model"]
    keys = {**record["config"]["model"], "revision": found["commit"]}
    return load_model(**{**keys, "name": found["name"]})


def steer(
    vector: Vector, dose: float, scope: Scope = "from_last_prompt_token"
) -> ResidualSteering | None:
    """A steering of the vector's layer.

    Args:
        vector: From `read_vector`.
        dose: Length of what is added, in mean residual norms of the layer; below 0 the other way.
        scope: Positions that are steered.

    Returns:
        None for dose 0, which is the unsteered model.

    Raises:
        UserError: A scope that needs more than its name.
    """
    _check_alone(scope)
    if dose == 0.0:
        return None
    raw = torch.from_numpy(vector.raw)
    return ResidualSteering(layer=vector.layer, vector=raw, alpha=vector.alpha(dose), scope=scope)


def generate(
    loaded: LoadedModel,
    prompts: Sequence[str],
    steering: ResidualSteering | None = None,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> list[str]:
    """Answer some prompts with the reference engine.

    Args:
        loaded: The model.
        prompts: As the model is to read them; the tokenizer adds what it always adds.
        steering: From `steer`; None leaves the model alone.
        max_new_tokens: Limit per text.
        temperature: 0 is greedy.
        seed: Of sampling; every prompt has a random stream of its own.
        stop: A text ends where one of these begins.

    Returns:
        The texts without their prompts, in the order of the prompts.

    Raises:
        UserError: A prompt that does not fit into the model's context with its answer.
    """
    engine = ReferenceEngine(loaded, Decoding(temperature, stop=tuple(stop)), BATCH_SIZE)
    requests = [
        Request(tuple(loaded.tokenizer(prompt)["input_ids"]), max_new_tokens, steering, seed + i)
        for i, prompt in enumerate(prompts)
    ]
    return [generation.text for generation in engine.generate(requests)]


def train_vector(
    loaded: LoadedModel,
    problems: Sequence[tuple[str, str]],
    layer: int,
    *,
    scope: Scope = "from_last_prompt_token",
    **training: Any,
) -> Vector:
    """Train a steering vector to say solutions; the model's weights stay as they are.

    Args:
        loaded: The model.
        problems: Prompts, each with what is to follow it: the solution and what ends it (a blank
            line, the end token), all of which is learned.
        layer: 0-based block whose output the vector is added to.
        scope: Positions that are steered.
        training: Keys of the config section ``training``: ``epochs=4``, ``learning_rate=0.01``, ….

    Returns:
        The vector; ``steer(vector, vector.dose(1.0))`` steers as it was trained.

    Raises:
        UserError: Nothing to learn, a text that does not fit into the model's context, a loss that
            is not finite, or a scope that needs more than its name.
    """
    _check_alone(scope)
    lessons = []
    for number, (prompt, solution) in enumerate(problems):
        alone = tuple(loaded.tokenizer(prompt)["input_ids"])
        whole = tuple(loaded.tokenizer(prompt + solution)["input_ids"])
        # A tokenizer may join the prompt's end with the solution's start, or close a text.
        example = Example(whole, len(common_prefix([alone, whole])))
        lessons.append(Lesson(str(number), (example,)))
    config = load_config({"training": training}).training
    learned, kept = split_lessons(lessons, config.held_out, config.seed)
    loss = likelihood([*learned, *kept])
    at = Positions(scope)
    learner = train(loaded, learned, kept, loss, [layer], config, at, progress=True)
    return trained_vectors(learner, [layer])[0]


def _check_alone(scope: Scope) -> None:
    if scope in SCOPES_WITH_KEYS:
        raise UserError(
            f"The scope {scope!r} needs more than its name",
            "Take another one here, or a ResidualSteering with first_k, window or tokens.",
        )
