"""Which tokens a rule names, against the tokenizer asked token by token."""

import re

import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from snakesteer.errors import UserError
from snakesteer.steering.tokens import TokenSet, token_table
from tests.tiny_models import VOCABULARY, tiny_tokenizer

SIZE = len(VOCABULARY) + 5  # a model has more embeddings than the tokenizer has tokens
TOKENIZER = tiny_tokenizer()


def ids(rule, others=False):
    table = token_table(TOKENIZER, SIZE, TokenSet(rule, others))
    assert (table.dtype, table.shape) == (torch.bool, (SIZE,))
    return set(table.nonzero()[:, 0].tolist())


def texts(found):
    return {TOKENIZER.decode([number]) for number in found if number < len(VOCABULARY)}


@pytest.mark.parametrize("rule", [r"[a-f]", r"\n", r"^ ", r"\d$", "e"])
def test_a_regular_expression_is_searched_for_in_every_token(rule):
    wanted = {
        number for number in range(len(TOKENIZER)) if re.search(rule, TOKENIZER.decode([number]))
    }
    assert ids(rule) == wanted
    assert 0 < len(wanted) < len(TOKENIZER)
    assert ids(rule, others=True) == set(range(SIZE)) - wanted


def test_ids_and_texts_are_named_one_by_one():
    newline, letter = (TOKENIZER(text)["input_ids"] for text in ("\n", "e"))
    assert ids((*newline, 9, "e")) == {*newline, 9, *letter}
    assert texts(ids(("e", "\n"))) == {"e", "\n"}
    # A text is the whole token, and no expression.
    assert ids((".",)) == set(TOKENIZER(".")["input_ids"])
    assert ids((SIZE - 1,)) == {SIZE - 1}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("no such text", "no token of the model is among these"),
        (("no such token",), "names 'no such token', which is no token"),
        ((3, SIZE), f"names {SIZE}, which is no token"),
        (tuple(range(SIZE)), "every token of the model is among these"),
        ("", "every token of the model is among these"),
    ],
)
def test_what_names_nothing_or_everything_is_refused(rule, told):
    with pytest.raises(UserError, match=told):
        token_table(TOKENIZER, SIZE, TokenSet(rule))


def test_a_token_is_named_as_it_stands_in_a_text():
    """Llama 2's decoder leaves out the space before a text; here there are gaps between ids."""
    vocabulary = {
        "<unk>": 0,
        "<0xC3>": 1,
        "\u2581": 2,
        "\u2581the": 3,
        "the": 4,
        "a": 5,
        "\u2581a": 9,
    }
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    llama = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")

    def named(rule):
        return token_table(llama, 12, TokenSet(rule)).nonzero()[:, 0].tolist()

    assert (llama.decode([3]), llama.decode([5, 3])) == ("the", "a the")
    assert (named((" the",)), named(("the",)), named("^ ")) == ([3], [4], [2, 3, 9])
    assert (named("a$"), named((" ",)), named("\N{REPLACEMENT CHARACTER}")) == ([5, 9], [2], [1])
    with pytest.raises(UserError, match="every token of the model"):
        named("")
    with pytest.raises(UserError, match="no token of the model is among these"):
        named("^$")
