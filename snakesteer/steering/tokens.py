"""Which tokens a scope steers: a rule of the configuration, and what it means for a vocabulary."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from snakesteer.config import TokenRule
from snakesteer.errors import UserError


@dataclass(frozen=True)
class TokenSet:
    """Some tokens of a vocabulary.

    Attributes:
        rule: Token ids and the texts of tokens, or a regular expression that is searched for in
            every token's text.
        others: Whether all tokens are meant that the rule does not name.
    """

    rule: TokenRule
    others: bool = False


@lru_cache(maxsize=16)
def token_table(tokenizer: Any, size: int, tokens: TokenSet) -> Tensor:
    """For every token id whether it is in a set, ``[size]`` bool on the CPU.

    A token's text is what it adds to a text: tokenizers of SentencePiece's kind leave out the space
    before a word where they decode the word alone. Ids that the tokenizer does not know (models
    have more embeddings, and vocabularies have gaps) have no text.

    Args:
        tokenizer: HuggingFace's.
        size: Of the model's vocabulary.
        tokens: The set.

    Raises:
        UserError: The rule names no token, or all, or one that the vocabulary lacks.
    """
    table, texts = torch.zeros(size, dtype=torch.bool), _texts(tokenizer, size)
    table[_named(texts, size, tokens.rule)] = True
    every = table[[*texts]].all()  # that there is
    if not table.any() or every:
        count = "every" if every else "no"
        raise UserError(
            f"steering.at_tokens is {tokens.rule!r}, and {count} token of the model is among these",
            "A regular expression is searched for in the text of each token: '\\n\\n$' is "
            "in those that end in a blank line.",
        )
    return ~table if tokens.others else table


@lru_cache(maxsize=1)
def _texts(tokenizer: Any, size: int) -> dict[int, str]:
    """Token → its text."""
    known = sorted(number for number in {*tokenizer.get_vocab().values()} if number < size)
    start = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = _decoded(tokenizer, [start])[0]
    found = _decoded(tokenizer, [[*start, number] for number in known])
    return {number: text.removeprefix(before) for number, text in zip(known, found, strict=True)}


def _decoded(tokenizer: Any, texts: list[list[int]]) -> list[str]:
    found: list[str] = tokenizer.batch_decode(texts, clean_up_tokenization_spaces=False)
    return found


def _named(texts: Mapping[int, str], size: int, rule: TokenRule) -> list[int]:
    if isinstance(rule, str):
        expression = re.compile(rule)
        return [number for number, text in texts.items() if expression.search(text)]
    found = []
    for one in rule:
        own = [number for number, text in texts.items() if text == one]
        own = [one] if isinstance(one, int) and one < size else own
        if not own:
            raise UserError(
                f"steering.at_tokens names {one!r}, which is no token of the model",
                "Name ids, or tokens as they stand in a text (with the space before a word; a line "
                'break is "\\n" in double quotation marks), or write a regular expression instead '
                "of a list.",
            )
        found += own
    return found
