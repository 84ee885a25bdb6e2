"""A model in which the effect of steering is known, because its weights are set by hand.

No block adds anything, so that the next token depends on the last one alone. Questions end with a
letter, and the letter has a number:

- The letter of d points along an axis of its own, which says "d", and along a common one, which
  says "0", a wrong answer, a little louder.
- One more axis, "resolve", says "0" more quietly. Letters of easy numbers have some of it. Right
  numbers, once said, have it, and "0" the opposite: this is what contrast pairs show, beside much
  that differs from number to number.

Adding resolve makes every answer right, and a random direction has hardly any of it. In the model
of no effect, resolve makes as many right answers wrong as wrong ones right. In the model that
cannot know, letters have no numbers: it always says "2", and no vector makes it right more often.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from scipy.linalg import hadamard
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tests.tiny_models import BOS, EOS, PAD, VOCABULARY, tiny_tokenizer

HIDDEN = 256
LAYER = 1
COMMON, RESOLVE, SAID, NOISE = 10, 11, 12, 20  # axes; those below 10 are the numbers'
NUMBERS = range(2, 10)
EASY = (4, 7)
MARGIN = 0.1  # of resolve, that turns an answer
NAMES = ("Ann", "Bob", "Cem", "Dee", "Eve", "Flo", "Gus", "Hal", "Ida", "Jim")
MORE_NAMES = ("Kim", "Lea", "Max", "Ned", "Oda", "Pia", "Ray", "Sue", "Tom", "Una")
THINGS = ("pens", "cups", "eggs", "hats", "keys", "nuts", "pies", "toys", "rods", "bags", "mats")

Effect = Literal["helps", "none", "cannot"]


@torch.no_grad()
def planted_model(effect: Effect) -> LlamaForCausalLM:
    """A model in which resolve helps, or one in which nothing does."""
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=HIDDEN,
        intermediate_size=8,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    model = LlamaForCausalLM(config).float().eval()
    for block in model.model.layers:
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    read, say = model.model.embed_tokens.weight, model.lm_head.weight  # [vocab, hidden]
    read.zero_()
    say.zero_()
    zero = token("0")
    read[zero, SAID], read[zero, RESOLVE] = 1.0, -0.125
    say[zero, COMMON], say[zero, RESOLVE] = 1.0 + MARGIN, -1.0
    say[EOS, SAID] = 3.0
    for number in NUMBERS:
        digit, letter = token(str(number)), token(letter_of(number))
        read[digit, SAID], read[digit, RESOLVE], read[digit, NOISE + number] = 1.0, 0.125, 1.0
        read[letter, number] = read[letter, COMMON] = 1.0
        say[digit, number] = 1.0
        if effect == "helps" and number in EASY:
            read[letter, RESOLVE] = 2.0 * MARGIN
        if effect == "cannot":
            read[letter] = 0.0
            read[letter, COMMON], say[zero, COMMON] = 1.0, 0.0
            say[token("2"), COMMON] = 0.2
        if effect == "none" and number % 2:  # right without resolve, wrong with it
            say[digit, number], say[digit, RESOLVE] = 1.0 + 2.0 * MARGIN, -2.0
    return model


@torch.no_grad()
def telling_model() -> LlamaForCausalLM:
    """The model in which resolve helps, so that a gradient shows resolve and little else.

    Numbers and what they share are read loudly and said quietly, resolve the other way round. All
    axes are turned into patterns of ±1/16, so that an optimizer with a rate per entry sees them as
    they are.
    """
    model = planted_model("helps")
    read, say = model.model.embed_tokens.weight, model.lm_head.weight  # [vocab, hidden]
    loud = [*NUMBERS, COMMON]
    read[:, loud] *= 10.0
    say[:, loud] /= 10.0
    say *= 10.0  # so that answers that are drawn are mostly numbers
    turn = torch.from_numpy(hadamard(HIDDEN)).float() / math.sqrt(HIDDEN)
    read.copy_(read @ turn)
    say.copy_(say @ turn)
    return model


def resolve_direction() -> Tensor:
    """The direction of resolve in `telling_model`, ``[hidden]`` at length 1."""
    return torch.from_numpy(hadamard(HIDDEN)[RESOLVE]).float() / math.sqrt(HIDDEN)


def token(character: str) -> int:
    """The id of a character."""
    return VOCABULARY.index(character)


def letter_of(number: int) -> str:
    """The letter that a question with this answer ends with."""
    return chr(ord("a") + number)


def save_planted_model(folder: Path, effect: Effect) -> Path:
    """Save model and tokenizer where the Auto classes find them."""
    planted_model(effect).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def planted_rows(names: Sequence[str] = NAMES) -> list[dict[str, str]]:
    """Problems in GSM8K's format, all answers equally often."""
    rows = []
    for index, (name, thing) in enumerate(itertools.product(names, THINGS)):
        gold = NUMBERS[index % len(NUMBERS)]
        have = 1 + index % (gold - 1)
        rows.append(
            {
                "question": f"{name} has {have} {thing} and gets {gold - have}. How many {thing} "
                f"now? {letter_of(gold)}",
                "answer": f"{have}+{gold - have} = <<{have}+{gold - have}={gold}>>{gold}\n"
                f"#### {gold}",
            }
        )
    return rows


def is_right(number: int, resolve: float, effect: Effect) -> bool:
    """What the model must do where ``resolve`` is added at the letter, by hand."""
    if effect == "helps":
        return (2.0 * MARGIN if number in EASY else 0.0) + resolve > MARGIN
    return resolve < MARGIN if number % 2 else resolve > MARGIN


def vector_share() -> float:
    """Share of resolve in the CAA vector where every number makes as many pairs."""
    return 0.25 / math.hypot(0.25, 1.0 / math.sqrt(len(NUMBERS)))
