"""Degenerate text: a model that was steered too hard says the same again and again."""

import re

NGRAM = 4
DEGENERATE = 0.5  # share of repeated 4-grams; worked solutions repeat far less

_WORD = re.compile(r"\w+|[^\w\s]")


def repetition(text: str) -> float:
    """Share of 4-grams that are repetitions: 1 − distinct / all, in [0, 1).

    This is seq-rep-4 of Welleck et al. 2020, "Neural Text Generation With Unlikelihood Training"
    (arXiv 1908.04319); Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration" (arXiv
    1904.09751), describe the failure. It is counted in words and single punctuation marks instead
    of tokens, so that it can be read from any text. A text of fewer than four has none.
    """
    words = _WORD.findall(text)
    grams = [tuple(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def is_degenerate(text: str) -> bool:
    """Whether more than half of a text's 4-grams are repetitions."""
    return repetition(text) > DEGENERATE
