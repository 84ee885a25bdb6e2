"""Thoughts: the pieces of a solution between blank lines, and what each of them does.

SEAL (Chen et al. 2025, "Steerable Reasoning Calibration of Large Language Models for Free", arXiv
2504.07986) tells three classes by keywords: a reflection looks back at what was written, a
transition takes another way, and everything else is the execution of the way that was taken. A
thought is read at the token that ends the blank line before it, where it is not yet written.
"""

import itertools
from collections import defaultdict
from typing import Any, Literal, get_args

from snakesteer.data.prompts import Ids

Thought = Literal["execution", "reflection", "transition"]
THOUGHTS: tuple[Thought, ...] = get_args(Thought)

# The keywords of SEAL as EasySteer's notebooks have them (ZJU-REAL/EasySteer, replications/seal):
# anywhere in a thought, in small letters, those of a transition first.
_KEYWORDS: dict[Thought, tuple[str, ...]] = {
    "transition": (
        "alternatively",
        "think differently",
        *(f"another {what}" for what in ("way", "approach", "method")),
        *(f"another {what}" for what in ("solution", "strategy", "technique")),
    ),
    "reflection": (
        *("wait", "verify", "make sure", "hold on", "think again"),
        *("'s correct", "'s incorrect", "let me check", "seems right"),
    ),
}


def thought_class(text: str) -> Thought:
    """What a thought does, by its keywords."""
    small = text.lower()
    found = (kind for kind, words in _KEYWORDS.items() if any(word in small for word in words))
    return next(found, "execution")


def blank_lines(tokenizer: Any, ids: Ids, start: int) -> list[int]:
    """Positions of the tokens at which a blank line ends; two tokens may share it.

    Args:
        tokenizer: HuggingFace's.
        ids: Of a text.
        start: The first position that counts.
    """
    known = {one: tokenizer.decode([one]) for one in {*ids[start:]}}
    texts = [known[one] for one in ids[start:]]
    return [
        start + at
        for at, (text, before) in enumerate(zip(texts, ["", *texts], strict=False))
        if text.endswith("\n\n") or (text == "\n" and before.endswith("\n"))
    ]


def thought_starts(tokenizer: Any, ids: Ids, start: int) -> dict[Thought, tuple[int, ...]]:
    """Where the thoughts of a solution are read, by their class.

    What stands before the first blank line has none that it could be read at.

    Args:
        tokenizer: HuggingFace's.
        ids: Prompt and solution.
        start: Where the solution starts.
    """
    found: dict[Thought, list[int]] = defaultdict(list)
    for at, end in itertools.pairwise([*blank_lines(tokenizer, ids, start), len(ids)]):
        text = tokenizer.decode(ids[at + 1 : end], skip_special_tokens=True).strip()
        if text:
            found[thought_class(text)].append(at)
    return {kind: tuple(found[kind]) for kind in THOUGHTS if found[kind]}
