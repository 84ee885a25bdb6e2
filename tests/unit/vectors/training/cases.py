"""Texts to learn from, models in float64, and the same sums computed the slow way."""

import dataclasses

import torch

from snakesteer.models.blocks import decoder_blocks
from snakesteer.models.loading import LoadedModel
from snakesteer.vectors.training.lessons import Example, Lesson
from tests.loaded_models import blocks_of, loaded_model
from tests.planted import letter_of, token
from tests.tiny_models import EOS

START = (5, 9, 12, 7)
EXAMPLES = [
    Example((*START, 20, 21, 30, 31, EOS), 6),
    Example((*START, 22, 40, 41, 42, 43, 44, EOS), 5),
    Example((*START, 23, 24, 25, 50, EOS), 7),
    Example((*START, 23, 24, 25, 26, 27, 28, 51, 52), 10),
]
LESSONS = [Lesson(str(number), (one,)) for number, one in enumerate(EXAMPLES)]
# One text to be said and one not to be said, behind the same prompt.
PREFERENCES = [
    Lesson("a", (Example((*START, 20, 21, 30, 31), 6), Example((*START, 20, 21, 40), 6))),
    Lesson("b", (Example((*START, 22, 41), 5), Example((*START, 22, 50, 51), 5)), 0.5),
]


def in_float64(family: str) -> LoadedModel:
    """A random-weight model in which finite differences mean something."""
    loaded = loaded_model(family)
    model = type(loaded.model)(loaded.model.config).eval()
    model.load_state_dict(loaded.model.state_dict())
    model = model.double()
    return dataclasses.replace(
        loaded, model=model, blocks=decoder_blocks(model), dtype=torch.float64
    )


def slow_logits(family, loaded, steering, example, vectors):
    """``[learned, vocabulary]`` of one text alone: no cache, no prefix, no padding, no kept block.

    Args:
        family: Of the model.
        loaded: The model.
        steering: Layers and steered positions.
        example: The text.
        vectors: ``[layers, hidden]``.
    """
    ids = torch.tensor([example.token_ids])
    steps = torch.arange(len(example.token_ids)) - (example.prompt_tokens - 1)
    where = torch.tensor(
        [steering.steers_step(int(s)) if s >= 0 else steering.steers_prompt for s in steps]
    )
    if "tokens" in steering.scope:  # which are ids here
        named = torch.isin(ids[0], torch.tensor(steering.tokens))
        where &= named if steering.scope == "at_tokens" else ~named
    blocks = blocks_of(family, loaded.model)
    handles = []
    for number, place in enumerate(steering.places):

        def add(_module, _inputs, output, number=number):
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden + where[:, None] * vectors[number]
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles.append(blocks[place.layer].register_forward_hook(add))
    logits = loaded.model(ids).logits[0, example.prompt_tokens - 1 : -1]
    for handle in handles:
        handle.remove()
    return logits


def slow_log_likelihood(family, loaded, steering, example, vectors, temperature=1.0):
    """Log-probability of what follows the prompt."""
    logits = slow_logits(family, loaded, steering, example, vectors) / temperature
    learned = torch.tensor(example.token_ids[example.prompt_tokens :])
    return torch.log_softmax(logits, dim=-1)[torch.arange(len(learned)), learned].sum()


def planted_lessons(times: int) -> list[Lesson]:
    """Every number's letter, with its number as the answer, several times."""
    return [
        Lesson(
            f"{n}-{time}",
            (Example((token("x"), token(letter_of(n)), token(str(n)), EOS), 2),),
        )
        for n in range(2, 10)
        for time in range(times)
    ]
